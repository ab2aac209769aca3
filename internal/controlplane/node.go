package controlplane

import (
	"context"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// Nodes lists nodes by filter: id and name (the hostname) and their beginnings, label (the engine's), node.label (the
// swarm's), role, membership.
func (c *Control) Nodes(f Filters) ([]swarm.Node, error) {
	if err := f.Check("id", "name", "label", "node.label", "role", "membership"); err != nil {
		return nil, err
	}
	for _, role := range f["role"] {
		if r := swarm.NodeRole(strings.ToLower(role)); r != swarm.NodeRoleWorker && r != swarm.NodeRoleManager {
			return nil, invalid("Invalid role filter: '%s'", role)
		}
	}
	for _, m := range f["membership"] {
		if m = strings.ToLower(m); m != "accepted" && m != "pending" {
			return nil, invalid("Invalid membership filter: '%s'", m)
		}
	}
	list := []swarm.Node{}
	for n := range store.Nodes.All(c.Store.View()) {
		if !f.Prefix("id", n.ID) || !f.Prefix("name", nodeName(n)) || !f.Labels("label", n.Description.Engine.Labels) ||
			!f.Labels("node.label", n.Spec.Labels) || !f.Fold("role", string(n.Spec.Role)) || !f.Fold("membership", "accepted") {
			continue
		}
		list = append(list, c.nodeOut(n))
	}
	return list, nil
}

// Node is one node by ID, hostname or unique beginning of an ID.
func (c *Control) Node(ref string) (swarm.Node, error) {
	n, err := store.Nodes.Find(c.Store.View(), ref)
	if err != nil {
		return swarm.Node{}, err
	}
	return c.nodeOut(n), nil
}

func nodeName(n *cluster.Node) string {
	if n.Description.Hostname != "" {
		return n.Description.Hostname
	}
	return n.Spec.Name
}

// nodeOut is a node as the API shows it, with its present part in the consensus.
func (c *Control) nodeOut(n *cluster.Node) swarm.Node {
	out := n.Node
	if c.Members != nil && (n.Spec.Role == swarm.NodeRoleManager || n.ManagerStatus != nil) { // a worker is no member
		out.ManagerStatus = c.Members(n.ID)
	}
	if out.ManagerStatus != nil && out.ManagerStatus.Addr == "" && n.ManagerStatus != nil {
		status := *out.ManagerStatus
		status.Addr = n.ManagerStatus.Addr
		out.ManagerStatus = &status
	}
	return out
}

// UpdateNode gives a node a new spec: labels, role, availability. The role's change in consensus and certificate
// follows. store.ErrSequence when the node has changed since version, ErrFailedPrecondition when the swarm would lose
// its last manager or its quorum.
func (c *Control) UpdateNode(ctx context.Context, ref string, version uint64, spec swarm.NodeSpec) error {
	spec.Role = swarm.NodeRole(strings.ToLower(string(spec.Role)))
	spec.Availability = swarm.NodeAvailability(strings.ToLower(string(spec.Availability)))
	if err := checkNodeSpec(&spec); err != nil {
		return err
	}
	return c.update(ctx, func(tx *store.Tx) error {
		old, err := store.Nodes.Find(tx, ref)
		if err != nil {
			return err
		}
		if err := store.CheckVersion(old.Version.Index, version); err != nil {
			return err
		}
		if old.Spec.Role == swarm.NodeRoleManager && spec.Role == swarm.NodeRoleWorker {
			if err := c.checkDemotion(tx, old); err != nil {
				return err
			}
		}
		n := new(*old)
		n.Spec = spec
		store.Nodes.Put(tx, n)
		return nil
	})
}

func checkNodeSpec(spec *swarm.NodeSpec) error {
	switch spec.Role {
	case swarm.NodeRoleWorker, swarm.NodeRoleManager:
	default:
		return invalid("invalid Role: %q", spec.Role)
	}
	switch spec.Availability {
	case swarm.NodeAvailabilityActive, swarm.NodeAvailabilityPause, swarm.NodeAvailabilityDrain:
	default:
		return invalid("invalid Availability: %q", spec.Availability)
	}
	if spec.Labels == nil {
		spec.Labels = map[string]string{}
	}
	return nil
}

func (c *Control) checkDemotion(r store.Reader, n *cluster.Node) error {
	managers := 0
	for other := range store.Nodes.All(r) {
		if other.Spec.Role == swarm.NodeRoleManager {
			managers++
		}
	}
	if managers <= 1 {
		return cluster.Errorf(errdefs.ErrFailedPrecondition, "attempting to demote the last manager of the swarm")
	}
	if c.MayDemote != nil && !c.MayDemote(n.ID) {
		return cluster.Errorf(errdefs.ErrFailedPrecondition, "can't remove member from the raft: this would result in a loss of quorum")
	}
	return nil
}

// RemoveNode takes a node out of the swarm: it is let in no more, and its tasks count as orphaned. Without force the
// node must be down. ErrFailedPrecondition for a manager: it must be demoted first.
func (c *Control) RemoveNode(ctx context.Context, ref string, force bool) error {
	return c.update(ctx, func(tx *store.Tx) error {
		n, err := store.Nodes.Find(tx, ref)
		if err != nil {
			return err
		}
		if n.Spec.Role == swarm.NodeRoleManager || c.Members != nil && c.Members(n.ID) != nil {
			return cluster.Errorf(errdefs.ErrFailedPrecondition, "node %s is a cluster manager and is a member of the raft cluster. "+
				"It must be demoted to worker before removal", n.ID)
		}
		if !force && n.Status.State == swarm.NodeStateReady {
			return cluster.Errorf(errdefs.ErrFailedPrecondition, "node %s is not down and can't be removed", n.ID)
		}
		banNode(tx, n)
		for t := range store.Tasks.By(tx, store.TaskNode, n.ID) {
			if t.Attached() {
				store.Tasks.Delete(tx, t.ID) // no service's history
				continue
			}
			orphan(tx, t)
		}
		store.Nodes.Delete(tx, n.ID)
		return nil
	})
}

// banNode remembers the node's ID until its certificate has expired by itself, and forgets those whose have.
func banNode(tx *store.Tx, n *cluster.Node) {
	old := store.ClusterOf(tx)
	if old == nil {
		return
	}
	c := new(*old)
	c.Removed = make(map[string]time.Time, len(old.Removed)+1)
	for id, until := range old.Removed {
		if until.After(tx.Now()) {
			c.Removed[id] = until
		}
	}
	until := n.Cert.Expires
	if until.IsZero() {
		until = tx.Now().Add(DefaultCertExpiry)
	}
	c.Removed[n.ID] = until
	store.Clusters.Put(tx, c)
}

// orphan marks a task whose node is gone for good, so that nothing waits for its end.
func orphan(tx *store.Tx, t *cluster.Task) {
	if cluster.Terminal(t.Status.State) {
		return
	}
	gone := new(*t)
	gone.Status.State = swarm.TaskStateOrphaned
	gone.Status.Timestamp = tx.Now()
	gone.Status.Message = "the task's node was removed from the swarm"
	store.Tasks.Put(tx, gone)
}
