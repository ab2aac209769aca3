package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/ca"
	"shoal/internal/cluster"
	"shoal/internal/raftstore"
	"shoal/internal/store"
)

// forceNewCluster makes this manager the only one of its swarm, with all that it knows: for a swarm that has lost its
// majority for good. The other managers are demoted; they must not come back with their old state.
func (n *node) forceNewCluster(ctx context.Context, req swarm.InitRequest) (string, error) {
	n.mu.RLock()
	m, state, key := n.managing, n.state, n.unlock
	n.mu.RUnlock()
	switch {
	case state == swarm.LocalNodeStateLocked:
		return "", errLocked
	case m == nil:
		return "", errWorker
	}
	ms, err := n.alone(req)
	if err != nil {
		return "", err
	}
	bundle := n.identity.Bundle()
	if err := n.halt(); err != nil {
		n.log.Warn("the node's parts did not end in good order", "error", err)
	}
	err = raftstore.Recover(raftstore.Config{
		Dir: raftDir(n.cfg.DataRoot), ID: ms.NodeID, Transport: raftstore.At(ms.Advertise.String()),
		Seal: raftstore.NewSealer([32]byte(bundle.DataKey)), Log: n.log,
	})
	if err := errors.Join(err, n.activate(ms, bundle, key, false)); err != nil { // as it was, if nothing was recovered
		return "", err
	}
	err = n.settle(ctx)
	n.startAgent()
	return ms.NodeID, err
}

// alone writes down, before anything is done, that this manager is about to be its swarm's only one. If it is killed in
// the middle, settle sees how far it came.
func (n *node) alone(req swarm.InitRequest) (*membership, error) {
	n.mu.RLock()
	ms := *n.member
	n.mu.RUnlock()
	if req.AdvertiseAddr != "" {
		moved, err := n.addresses(ms.ListenAddr, req.AdvertiseAddr, req.DataPathAddr)
		if err != nil {
			return nil, err
		}
		ms.Advertise, ms.DataAddr = moved.Advertise, moved.DataAddr
	}
	ms.Alone = true
	return &ms, ms.save(n.cfg.DataRoot)
}

// settle makes the store fit a manager that has become the only one of its swarm, by recovery or by a backup, once that
// leads. The caller holds verbs.
func (n *node) settle(ctx context.Context) error {
	n.mu.RLock()
	m, ms := n.managing, *n.member
	n.mu.RUnlock()
	if !ms.Alone || m == nil {
		return nil
	}
	if len(m.raft.Servers()) == 1 { // else it was killed before it was alone: all is as it was
		ctx, cancel := context.WithTimeout(ctx, initTime)
		defer cancel()
		if err := m.whenLeading(ctx, func(tx *store.Tx) error { return soleManager(tx, &ms) }); err != nil {
			return err
		}
		if err := n.renewExpired(ctx, m); err != nil {
			n.log.Error("this manager's certificate has expired and cannot be renewed", "error", err)
		}
	}
	ms.Alone = false
	if err := ms.save(n.cfg.DataRoot); err != nil {
		return err
	}
	n.mu.Lock()
	n.member = &ms
	n.mu.Unlock()
	return nil
}

// lostMessage is the status of managers that a swarm had before it was recovered.
const lostMessage = "lost when the swarm was recovered"

// soleManager makes every other manager a worker that is down, so that nothing waits for it, and puts this one where it
// is now.
func soleManager(tx *store.Tx, ms *membership) error {
	self := store.Nodes.Get(tx, ms.NodeID)
	if self == nil {
		return cluster.Errorf(errdefs.ErrFailedPrecondition, "the recovered state does not know this node")
	}
	for old := range store.Nodes.All(tx) {
		if old.ID == ms.NodeID || old.Spec.Role != swarm.NodeRoleManager {
			continue
		}
		other := *old
		other.Spec.Role, other.ManagerStatus = swarm.NodeRoleWorker, nil
		other.Status.State, other.Status.Message = swarm.NodeStateDown, lostMessage
		store.Nodes.Put(tx, &other)
	}
	own := *self
	own.Spec.Role, own.DataAddr, own.Status.Addr = swarm.NodeRoleManager, ms.DataAddr, ms.Advertise.Addr().String()
	own.ManagerStatus = &swarm.ManagerStatus{Addr: ms.Advertise.String(), Reachability: swarm.ReachabilityReachable}
	store.Nodes.Put(tx, &own)
	return nil
}

// renewExpired gives the only manager a new certificate when its own has expired, as that of an old backup: no other
// manager is there to ask, and none would take the old one.
func (n *node) renewExpired(ctx context.Context, m *managing) error {
	now := time.Now()
	if now.Before(n.identity.Leaf().NotAfter) {
		return nil
	}
	c := store.ClusterOf(m.store.View())
	root, err := ca.Signer(c.Root)
	if err != nil {
		return err
	}
	key, csr, err := ca.NewRequest()
	if err != nil {
		return err
	}
	b := n.identity.Bundle()
	b.Key, b.Root = key, c.Root.Cert
	if b.Chain, err = root.Sign(csr, n.identity.Subject(), c.Spec.CAConfig.NodeCertExpiry, now); err != nil {
		return err
	}
	if err := n.saveBundle(b); err != nil {
		return err
	}
	if err := n.identity.Set(b); err != nil {
		return err
	}
	n.log.Info("this manager's certificate had expired and is renewed")
	_, err = m.store.Update(ctx, func(tx *store.Tx) error {
		self := *store.Nodes.Get(tx, m.id)
		self.Cert.Role, self.Cert.PEM, self.Cert.Expires = swarm.NodeRoleManager, b.Chain, n.identity.Leaf().NotAfter
		store.Nodes.Put(tx, &self)
		return nil
	})
	return err
}
