package network

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"shoal/internal/cluster"
	"shoal/internal/network/plan"
)

// Connect gives a container that Attach knows an interface in one more of the node's own networks; those that it has stay
// as they are, its default route too. ErrPermissionDenied when it is in the network already, or has no network namespace
// of its own to put an interface in; ErrNotFound when it has no sandbox. After an error it is where it was.
func (n *Network) Connect(ctx context.Context, containerID string, l LocalAttachment) error {
	if err := n.enter(ctx); err != nil {
		return err
	}
	defer n.leave()
	return n.join(ctx, containerID, func(b *box) error { return n.local(b, l) })
}

// ConnectOverlay is Connect for a place in a network of the swarm. It waits until the cluster's state names the network.
func (n *Network) ConnectOverlay(ctx context.Context, containerID string, a cluster.Attachment) error {
	if err := n.await(ctx, []cluster.Attachment{a}); err != nil {
		return err
	}
	defer n.leave()
	return n.join(ctx, containerID, func(b *box) error { return n.overlay(b, a) })
}

// join moves a container to where add says. The caller has the gate's token.
func (n *Network) join(ctx context.Context, containerID string, add func(*box) error) error {
	b, err := n.movable(containerID)
	if err != nil {
		return err
	}
	if b.Mode == "none" {
		return cluster.Errorf(errdefs.ErrPermissionDenied, "container cannot be connected to multiple networks with one of the networks in private (none) mode")
	}
	changed := *b
	changed.Places = slices.Clone(b.Places)
	if err := add(&changed); err != nil {
		return err
	}
	added := changed.Places[len(changed.Places)-1]
	if slices.ContainsFunc(b.Places, func(p place) bool { return p.NetworkID == added.NetworkID }) {
		return cluster.Errorf(errdefs.ErrPermissionDenied, "endpoint with name %s already exists in network %s", strings.TrimPrefix(b.Name, "/"), added.NetworkName)
	}
	if !slices.ContainsFunc(changed.Places, func(p place) bool { return p.Default }) {
		changed.chooseDefault(n)
	}
	return n.move(ctx, b, &changed)
}

// Disconnect takes a container's interface in a network (name or ID) away. When its default route left there, it leaves
// by the next that offers one. ErrPermissionDenied when the container is not in the network.
func (n *Network) Disconnect(ctx context.Context, containerID, network string) error {
	if err := n.enter(ctx); err != nil {
		return err
	}
	defer n.leave()
	b, err := n.movable(containerID)
	if err != nil {
		return err
	}
	changed := *b
	changed.Places = slices.DeleteFunc(slices.Clone(b.Places), func(p place) bool { return p.NetworkID == network || p.NetworkName == network })
	if len(changed.Places) == len(b.Places) {
		return cluster.Errorf(errdefs.ErrPermissionDenied, "container %s is not connected to network %s", containerID, network)
	}
	if !slices.ContainsFunc(changed.Places, func(p place) bool { return p.Default }) {
		changed.chooseDefault(n)
	}
	return n.move(ctx, b, &changed)
}

// movable is the box of a container whose interfaces may change.
func (n *Network) movable(containerID string) (*box, error) {
	b := n.boxes[containerID]
	switch {
	case b == nil:
		return nil, cluster.Errorf(errdefs.ErrNotFound, "container %s has no place in a network now", containerID)
	case !b.hasSpace():
		return nil, cluster.Errorf(errdefs.ErrPermissionDenied, "container sharing network namespace with another container or host cannot be connected to any other network")
	}
	return b, nil
}

// move changes a running container's interfaces from one box's to another's. What the container itself did in its
// namespace is not looked at: the difference is that of the two plans.
func (n *Network) move(ctx context.Context, from, to *box) error {
	touched := map[string]bool{}
	for _, p := range slices.Concat(from.Places, to.Places) {
		touched[p.NetworkID] = true
	}
	ns := plan.ContainerNS(from.ContainerID)
	have, want := n.containerPlan(from), n.containerPlan(to)
	n.boxes[to.ContainerID] = to
	// The networks' ends of new links make the container's ends. Those of links that go are deleted with the container's.
	err := n.apply(ctx, touched, nil, nil)
	if err == nil {
		ops := plan.Diff(plan.Kernel{ns: have}, plan.Kernel{ns: want})
		if err = n.kernel.Apply(ctx, ops); err == nil {
			err = n.saveBox(to)
		}
		n.kernel.Forget(ns)
	}
	if err != nil {
		n.boxes[from.ContainerID] = from
		ctx = context.WithoutCancel(ctx)
		back := plan.Diff(plan.Kernel{ns: want}, plan.Kernel{ns: have})
		err = errors.Join(err, n.apply(ctx, touched, nil, nil), n.kernel.Apply(ctx, back))
		n.kernel.Forget(ns)
		return err
	}
	n.publish(to)
	n.answer()
	return nil
}

// containerPlan is what a box asks of its container's namespace.
func (n *Network) containerPlan(b *box) *plan.Namespace {
	var interfaces []plan.Interface
	for _, p := range b.Places {
		interfaces = append(interfaces, plan.Interface{Net: n.lookup(p.NetworkID), Name: p.Interface, Addr: p.Addresses, Default: p.Default})
	}
	return plan.Container(b.ContainerID, interfaces, b.Names)
}

// Swarm tells which of the swarm's networks are in use on this node now, by ID.
func (n *Network) Swarm(ctx context.Context) (map[string]bool, error) {
	if err := n.enter(ctx); err != nil {
		return nil, err
	}
	defer n.leave()
	out := make(map[string]bool, len(n.links))
	for id := range n.links {
		out[id] = true
	}
	return out, nil
}

// NameOf is the name of a container that has a sandbox. ErrNotFound without one.
func (n *Network) NameOf(ctx context.Context, containerID string) (string, error) {
	if err := n.enter(ctx); err != nil {
		return "", err
	}
	defer n.leave()
	if b := n.boxes[containerID]; b != nil {
		return strings.TrimPrefix(b.Name, "/"), nil
	}
	return "", cluster.Errorf(errdefs.ErrNotFound, "container %s has no place in a network now", containerID)
}
