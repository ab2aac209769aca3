package controlplane

import (
	"github.com/containerd/errdefs"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// findNetwork finds a network that has not been removed. ErrNotFound: there is none.
func findNetwork(r store.Reader, ref string) (*cluster.Network, error) {
	n, err := store.Networks.Find(r, ref)
	if err == nil && n.Leaving {
		return nil, cluster.Errorf(errdefs.ErrNotFound, "network %s not found", ref)
	}
	return n, err
}

// networkInUse says by whom; nil when by nobody who will stay. A task whose service has been removed will not.
func networkInUse(r store.Reader, n *cluster.Network) error {
	if n.Spec.Ingress {
		for s := range store.Services.All(r) {
			if needsIngress(&s.Spec) {
				return cluster.Errorf(errdefs.ErrFailedPrecondition, "ingress network cannot be removed because service %s depends on it", s.ID)
			}
		}
	}
	for s := range store.Services.By(r, store.ServiceNetwork, n.ID) {
		return cluster.Errorf(errdefs.ErrFailedPrecondition, "network %s is in use by service %s", n.ID, s.ID)
	}
	for t := range store.Tasks.By(r, store.TaskNetwork, n.ID) {
		stays := n.Spec.Ingress || t.Attached() || store.Services.Get(r, t.ServiceID) != nil
		if stays && !cluster.Terminal(t.Status.State) {
			return cluster.Errorf(errdefs.ErrFailedPrecondition, "network %s is in use by task %s", n.ID, t.ID)
		}
	}
	return nil
}

// dropNetwork deletes a network that is not in use. While tasks of removed services still end in it, it only leaves: its
// name is free and nobody finds it any more, but its VNI and subnets are taken until [DropLeavingNetworks].
func dropNetwork(tx *store.Tx, n *cluster.Network) {
	if !occupied(tx, n.ID) {
		store.Networks.Delete(tx, n.ID)
		return
	}
	leaving := new(*n)
	leaving.Leaving = true
	store.Networks.Put(tx, leaving)
}

// DropLeavingNetworks deletes the removed networks whose last task has ended. Whoever ends or deletes tasks calls it in
// the same transaction.
func DropLeavingNetworks(tx *store.Tx) {
	var empty []string
	for n := range store.Networks.All(tx) {
		if n.Leaving && !occupied(tx, n.ID) {
			empty = append(empty, n.ID)
		}
	}
	for _, id := range empty {
		store.Networks.Delete(tx, id)
	}
}

func occupied(r store.Reader, networkID string) bool {
	for t := range store.Tasks.By(r, store.TaskNetwork, networkID) {
		if !cluster.Terminal(t.Status.State) {
			return true
		}
	}
	return false
}
