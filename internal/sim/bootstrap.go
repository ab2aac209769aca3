package sim

import (
	"context"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/ca"
	"shoal/internal/cluster"
	"shoal/internal/controlplane"
	"shoal/internal/store"
)

// authority makes the machines' certificates, of which the agent reads whom they name and until when they last.
type authority struct {
	cluster *cluster.Cluster
	root    *ca.Root
}

// open makes the swarm's trust.
func (a *authority) open(w *world) {
	a.cluster = &cluster.Cluster{}
	a.cluster.ID = "c1"
	err := ca.NewCluster(a.cluster, nil, nil, time.Now())
	if err == nil {
		a.root, err = ca.Signer(a.cluster.Root)
	}
	if err != nil {
		w.fail("make a root: %v", err)
	}
}

// certificateLife is how long certificates last in a run that sees them renewed.
const certificateLife = ca.MinExpiry

func (a *authority) certificate(w *world, id string, role swarm.NodeRole) ca.Bundle {
	key, csr, err := ca.NewRequest()
	if err != nil {
		w.fail("certificate of %s: %v", id, err)
		return ca.Bundle{}
	}
	life := time.Duration(0)
	if w.longLived {
		life = certificateLife
	}
	chain, err := a.root.Sign(csr, ca.Subject{NodeID: id, ClusterID: a.cluster.ID, Role: role}, life, time.Now())
	if err != nil {
		w.fail("certificate of %s: %v", id, err)
	}
	return ca.Bundle{Chain: chain, Key: key, Root: a.root.PEM}
}

// first is the proposer of the swarm's first entry, which every manager finds in its log.
type first struct {
	store *store.Store
	g     *group
}

// Propose takes the entry.
func (f first) Propose(_ context.Context, entry []byte) error {
	f.g.append(entry)
	return f.store.Apply(entry)
}

// bootstrap writes the swarm and its nodes. w.mu is held.
func (w *world) bootstrap() {
	c := w.authority.cluster
	c.Spec.Dispatcher.HeartbeatPeriod = []time.Duration{2 * time.Second, 5 * time.Second}[w.rand.IntN(2)]
	if w.longLived { // beats are what such a run consists of
		c.Spec.Dispatcher.HeartbeatPeriod, c.Spec.CAConfig.NodeCertExpiry = 10*time.Second, certificateLife
	}
	history := []int64{0, 1, 5}[w.rand.IntN(3)]
	c.Spec.Orchestration.TaskHistoryRetentionLimit = &history
	s := store.New()
	s.Lead(first{s, w.group})
	defer s.Follow()
	_, err := s.Update(w.ctx, func(tx *store.Tx) error {
		if err := controlplane.Bootstrap(tx, c, w.hosts[0].node()); err != nil {
			return err
		}
		for _, h := range w.hosts[1:] {
			store.Nodes.Put(tx, h.node())
		}
		return nil
	})
	if err != nil {
		w.fail("bootstrap: %v", err)
	}
	w.rules.applied(s)
}

// node is what joining writes of a machine.
func (h *host) node() *cluster.Node {
	n := &cluster.Node{}
	n.ID = h.id
	n.Number, n.DataAddr = h.number, h.addr()
	n.Spec = swarm.NodeSpec{Role: h.role(), Availability: swarm.NodeAvailabilityActive}
	n.Spec.Labels = map[string]string{}
	n.Status = swarm.NodeStatus{State: swarm.NodeStateUnknown, Addr: h.id}
	n.Description.Hostname = h.id
	if h.manages {
		n.ManagerStatus = &swarm.ManagerStatus{Addr: h.id + port, Reachability: swarm.ReachabilityReachable}
	}
	return n
}
