package controlplane

import (
	"context"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/ca"
	"shoal/internal/cluster"
	"shoal/internal/store"
)

// minCertExpiry is the shortest life of a node's certificate that leaves time to renew it.
const minCertExpiry = time.Hour

// minHeartbeat keeps a mistyped period from drowning the managers.
const minHeartbeat = 100 * time.Millisecond

// DefaultSwarmSpec is what a new swarm has where its maker chose nothing.
func DefaultSwarmSpec() swarm.Spec {
	return swarm.Spec{
		Annotations:   swarm.Annotations{Name: "default", Labels: map[string]string{}},
		Orchestration: swarm.OrchestrationConfig{TaskHistoryRetentionLimit: new(DefaultTaskHistory)},
		Raft: swarm.RaftConfig{
			SnapshotInterval: 10000, KeepOldSnapshots: new(uint64(0)), LogEntriesForSlowFollowers: 500, ElectionTick: 10, HeartbeatTick: 1,
		},
		Dispatcher: swarm.DispatcherConfig{HeartbeatPeriod: DefaultHeartbeatPeriod},
		CAConfig:   swarm.CAConfig{NodeCertExpiry: DefaultCertExpiry},
	}
}

// Swarm is the swarm itself, with its join tokens, and without any private key.
func (c *Control) Swarm() (swarm.Swarm, error) {
	have, err := theCluster(c.Store.View())
	if err != nil {
		return swarm.Swarm{}, err
	}
	return swarmOut(have), nil
}

func theCluster(r store.Reader) (*cluster.Cluster, error) {
	if c := store.ClusterOf(r); c != nil {
		return c, nil
	}
	return nil, cluster.Errorf(errdefs.ErrUnavailable, "This node is not part of a swarm")
}

func swarmOut(c *cluster.Cluster) swarm.Swarm {
	out := c.Swarm
	out.Spec.CAConfig.SigningCAKey = ""
	out.RootRotationInProgress = c.Root.Next != nil
	return out
}

// SwarmUpdate is what to change of the swarm beside its spec.
type SwarmUpdate struct {
	Version                                          uint64 // the swarm's version that the new spec is based on
	RotateWorkerToken, RotateManagerToken, RotateKey bool
}

// UpdateSwarm gives the swarm a new spec and rotates what is asked for. Values that the spec leaves open stay.
// store.ErrSequence when the swarm has changed since Version, ErrInvalidArgument for values out of bounds.
func (c *Control) UpdateSwarm(ctx context.Context, spec swarm.Spec, how SwarmUpdate) error {
	return c.update(ctx, func(tx *store.Tx) error {
		old, err := theCluster(tx)
		if err != nil {
			return err
		}
		if err := store.CheckVersion(old.Version.Index, how.Version); err != nil {
			return err
		}
		next := new(*old)
		if next.Spec, err = mergeSwarmSpec(old.Spec, spec); err != nil {
			return err
		}
		if err := rotateRoot(next, old, tx.Now()); err != nil {
			return err
		}
		if err := rotateTokens(next, how); err != nil {
			return err
		}
		switch {
		case !next.Spec.EncryptionConfig.AutoLockManagers:
			next.UnlockKey = nil
		case next.UnlockKey == nil || how.RotateKey:
			next.UnlockKey = ca.NewUnlockKey()
		}
		store.Clusters.Put(tx, next)
		return nil
	})
}

func rotateTokens(c *cluster.Cluster, how SwarmUpdate) (err error) {
	if how.RotateWorkerToken {
		if c.JoinTokens.Worker, err = ca.NewToken(c.Root.Cert); err != nil {
			return err
		}
	}
	if how.RotateManagerToken {
		c.JoinTokens.Manager, err = ca.NewToken(c.Root.Cert)
	}
	return err
}

// rotateRoot starts a rotation of the root CA when the spec asks for another one than before.
func rotateRoot(next, old *cluster.Cluster, now time.Time) error {
	want, had := &next.Spec.CAConfig, &old.Spec.CAConfig
	if want.SigningCAKey != "" && want.SigningCACert == "" {
		return invalid("if a signing CA key is provided, the signing CA cert must also be provided")
	}
	cert, key := []byte(want.SigningCACert), []byte(want.SigningCAKey)
	switch {
	case len(cert) > 0 && want.SigningCACert != had.SigningCACert:
	case want.ForceRotate != had.ForceRotate:
		if len(cert) == 0 || want.SigningCACert == had.SigningCACert { // a root of the swarm's own making
			var err error
			if cert, key, err = ca.NewRoot(now); err != nil {
				return err
			}
			want.SigningCACert, want.SigningCAKey = "", ""
		}
	default:
		want.SigningCAKey = had.SigningCAKey
		return nil
	}
	root, err := ca.StartRotation(old.Root, cert, key, now)
	if err != nil {
		return err
	}
	next.Root = root
	next.RootRotationInProgress = true
	want.SigningCAKey = "" // the key is in Root, where no listing looks
	return nil
}

// UnlockKey is the key that unlocks a restarted manager, as users see it; empty when managers do not lock.
func (c *Control) UnlockKey() (string, error) {
	have, err := theCluster(c.Store.View())
	if err != nil || have.UnlockKey == nil {
		return "", err
	}
	return ca.FormatUnlockKey(have.UnlockKey), nil
}

// mergeSwarmSpec lays spec over old: what spec leaves open stays. ErrInvalidArgument for values out of bounds.
func mergeSwarmSpec(old, spec swarm.Spec) (swarm.Spec, error) {
	if spec.Name == "" {
		spec.Name = old.Name
	}
	if spec.Name != old.Name {
		return spec, invalid("modification of cluster name is not allowed")
	}
	if spec.Labels == nil {
		spec.Labels = old.Labels
	}
	if spec.Orchestration.TaskHistoryRetentionLimit == nil {
		spec.Orchestration.TaskHistoryRetentionLimit = old.Orchestration.TaskHistoryRetentionLimit
	}
	mergeRaft(&spec.Raft, &old.Raft)
	if spec.Dispatcher.HeartbeatPeriod == 0 {
		spec.Dispatcher.HeartbeatPeriod = old.Dispatcher.HeartbeatPeriod
	}
	if spec.CAConfig.NodeCertExpiry == 0 {
		spec.CAConfig.NodeCertExpiry = old.CAConfig.NodeCertExpiry
	}
	return spec, checkSwarmSpec(&spec)
}

func mergeRaft(r, old *swarm.RaftConfig) {
	if r.SnapshotInterval == 0 {
		r.SnapshotInterval = old.SnapshotInterval
	}
	if r.KeepOldSnapshots == nil {
		r.KeepOldSnapshots = old.KeepOldSnapshots
	}
	if r.LogEntriesForSlowFollowers == 0 {
		r.LogEntriesForSlowFollowers = old.LogEntriesForSlowFollowers
	}
	if r.ElectionTick <= 0 {
		r.ElectionTick = old.ElectionTick
	}
	if r.HeartbeatTick <= 0 {
		r.HeartbeatTick = old.HeartbeatTick
	}
}

func checkSwarmSpec(spec *swarm.Spec) error {
	if _, err := cluster.Cleanup(spec.Labels); err != nil {
		return err
	}
	switch {
	case spec.CAConfig.NodeCertExpiry < minCertExpiry:
		return invalid("minimum certificate expiry time is: %s", minCertExpiry)
	case spec.Dispatcher.HeartbeatPeriod < 0:
		return invalid("heartbeat time period cannot be a negative duration")
	case spec.Dispatcher.HeartbeatPeriod < minHeartbeat:
		return invalid("minimum heartbeat time period is: %s", minHeartbeat)
	}
	for _, external := range spec.CAConfig.ExternalCAs {
		if external == nil || external.URL == "" {
			return invalid("invalid external CA: a URL is needed")
		}
		if external.Protocol != "" && external.Protocol != swarm.ExternalCAProtocolCFSSL {
			return invalid("invalid CAProtocol: %q", external.Protocol)
		}
	}
	return nil
}
