package controlplane

import (
	"context"
	"net/netip"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// Attach gives a plain container on a node a place in a network of the swarm, and returns the task that stands for it;
// the addresses are its own until [Control.Detach]. want asks for a certain address (zero: any). ErrPermissionDenied
// when the network is not attachable.
func (c *Control) Attach(ctx context.Context, nodeID, ref string, want netip.Addr, aliases []string) (*cluster.Task, error) {
	t := &cluster.Task{ID: cluster.NewID(), NodeID: nodeID, DesiredState: swarm.TaskStateRunning}
	err := c.update(ctx, func(tx *store.Tx) error {
		n, err := store.Networks.Find(tx, ref)
		if err != nil {
			return err
		}
		if !n.Spec.Attachable || n.Spec.Ingress {
			return cluster.Errorf(errdefs.ErrPermissionDenied, "network %s not manually attachable", n.Spec.Name)
		}
		if store.Nodes.Get(tx, nodeID) == nil {
			return cluster.Errorf(errdefs.ErrNotFound, "node %s not found", nodeID)
		}
		a, err := stock(tx, []string{n.ID}).Attach(n.ID, want, aliases)
		if err != nil {
			return err
		}
		t.Attachments = []cluster.Attachment{a}
		t.Status = swarm.TaskStatus{Timestamp: tx.Now(), State: swarm.TaskStateRunning, Message: "attached"}
		store.Tasks.Put(tx, t)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// Detach gives back the place that a plain container had. A second call does nothing. ErrInvalidArgument for a task of
// a service.
func (c *Control) Detach(ctx context.Context, taskID string) error {
	return c.update(ctx, func(tx *store.Tx) error {
		t := store.Tasks.Get(tx, taskID)
		switch {
		case t == nil:
			return nil
		case t.ServiceID != "":
			return invalid("task %s is not a network attachment", taskID)
		}
		store.Tasks.Delete(tx, taskID)
		return nil
	})
}
