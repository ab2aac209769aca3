package daemon

import (
	"context"
	"errors"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/raftstore"
	"shoal/internal/store"
)

// forceNewCluster makes this manager the only one of its swarm, with all that it knows: for a swarm that has lost its
// majority for good. The other managers are demoted; they must not come back with their old state.
func (n *node) forceNewCluster(ctx context.Context) (string, error) {
	n.mu.RLock()
	ms, m, state, key := n.member, n.managing, n.state, n.unlock
	n.mu.RUnlock()
	switch {
	case state == swarm.LocalNodeStateLocked:
		return "", errLocked
	case m == nil:
		return "", errWorker
	}
	bundle := n.identity.Bundle()
	if err := n.halt(); err != nil {
		n.log.Warn("the node's parts did not end in good order", "error", err)
	}
	err := raftstore.Recover(raftstore.Config{
		Dir: raftDir(n.cfg.DataRoot), ID: ms.NodeID, Transport: raftstore.At(ms.Advertise.String()),
		Seal: raftstore.NewSealer([32]byte(bundle.DataKey)), Log: n.log,
	})
	if err := errors.Join(err, n.activate(ms, bundle, key, false)); err != nil { // as it was, if nothing was recovered
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, initTime)
	defer cancel()
	err = n.managing.whenLeading(ctx, func(tx *store.Tx) error { return demoteOthers(tx, ms.NodeID) })
	n.startAgent()
	return ms.NodeID, err
}

// demoteOthers makes every other manager a worker that is down, so that nothing waits for it.
func demoteOthers(tx *store.Tx, self string) error {
	if store.Nodes.Get(tx, self) == nil {
		return cluster.Errorf(errdefs.ErrFailedPrecondition, "the recovered state does not know this node")
	}
	for old := range store.Nodes.All(tx) {
		if old.ID == self || old.Spec.Role != swarm.NodeRoleManager {
			continue
		}
		other := *old
		other.Spec.Role, other.ManagerStatus = swarm.NodeRoleWorker, nil
		other.Status.State, other.Status.Message = swarm.NodeStateDown, "lost when the swarm was recovered"
		store.Nodes.Put(tx, &other)
	}
	return nil
}
