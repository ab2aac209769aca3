package controlplane

import (
	"context"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// Attach gives a plain container on a node a place in a network of the swarm. A task stands for it, and its addresses
// are its own until [Control.Detach]. A container that is in the network already keeps its place. ErrPermissionDenied
// when the network is not attachable, ErrResourceExhausted when it has no free address.
func (c *Control) Attach(ctx context.Context, nodeID string, request cluster.AttachRequest) (cluster.Place, error) {
	t := &cluster.Task{ID: cluster.NewID(), NodeID: nodeID, Container: &request.Container, DesiredState: swarm.TaskStateRunning}
	err := c.update(ctx, func(tx *store.Tx) error {
		n, err := findNetwork(tx, request.Network)
		if err != nil {
			return err
		}
		if !n.Spec.Attachable || n.Spec.Ingress {
			return cluster.Errorf(errdefs.ErrPermissionDenied, "network %s not manually attachable", n.Spec.Name)
		}
		if store.Nodes.Get(tx, nodeID) == nil {
			return cluster.Errorf(errdefs.ErrNotFound, "node %s not found", nodeID)
		}
		for have := range store.Tasks.By(tx, store.TaskNode, nodeID) {
			if have.Container != nil && have.Container.ID == request.Container.ID && have.Attachments[0].NetworkID == n.ID {
				t = have
				return nil
			}
		}
		a, err := stock(tx, []string{n.ID}).Attach(n.ID, request.Address, request.Aliases)
		if err != nil {
			return err
		}
		t.Attachments = []cluster.Attachment{a}
		t.Status = swarm.TaskStatus{Timestamp: tx.Now(), State: swarm.TaskStateRunning, Message: "attached"}
		store.Tasks.Put(tx, t)
		return nil
	})
	if err != nil {
		return cluster.Place{}, err
	}
	return placeOf(t), nil
}

func placeOf(t *cluster.Task) cluster.Place {
	return cluster.Place{TaskID: t.ID, Container: *t.Container, Attachment: t.Attachments[0]}
}

// Detach gives back places that plain containers of the node had. Those that are back already are passed over.
// ErrPermissionDenied, and nothing is done, when one of the tasks is another node's or a service's.
func (c *Control) Detach(ctx context.Context, nodeID string, taskIDs []string) error {
	return c.update(ctx, func(tx *store.Tx) error {
		for _, id := range taskIDs {
			t := store.Tasks.Get(tx, id)
			switch {
			case t == nil:
				continue
			case !t.Attached() || t.NodeID != nodeID:
				return cluster.Errorf(errdefs.ErrPermissionDenied, "task %s is not a network attachment of node %s", id, nodeID)
			}
			store.Tasks.Delete(tx, id)
		}
		return nil
	})
}

// Places are those that the store has of a node's plain containers.
func (c *Control) Places(nodeID string) []cluster.Place {
	var list []cluster.Place
	for t := range store.Tasks.By(c.Store.View(), store.TaskNode, nodeID) {
		if t.Container != nil {
			list = append(list, placeOf(t))
		}
	}
	return list
}

// NetworksFor are the networks that a node may know of: those that its tasks are in, the ingress network, and those that
// its containers may join.
func (c *Control) NetworksFor(nodeID string) []network.Inspect {
	v := c.Store.View()
	in := map[string]bool{}
	for t := range store.Tasks.By(v, store.TaskNode, nodeID) {
		for _, a := range t.Attachments {
			in[a.NetworkID] = in[a.NetworkID] || !cluster.Terminal(t.Status.State)
		}
	}
	return slices.DeleteFunc(c.Networks(), func(n network.Inspect) bool {
		return !n.Attachable && !n.Ingress && !in[n.ID]
	})
}
