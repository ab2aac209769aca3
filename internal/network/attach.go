package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"shoal/internal/cluster"
	"shoal/internal/network/plan"
)

// Attach gives a container its network namespace, links, addresses, names and ports, all ready when it returns. It is
// idempotent by ContainerID. It waits until the newest state names the request's swarm networks, or ctx ends. After an
// error nothing of the container is left.
func (n *Network) Attach(ctx context.Context, r Request) (*Sandbox, error) {
	if s, ok := n.Sandbox(r.ContainerID); ok {
		return s, nil
	}
	if r.ContainerID == "" {
		return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "network: a request without a container ID")
	}
	if err := n.await(ctx, r.Overlays); err != nil {
		return nil, err
	}
	defer n.leave()
	if s, ok := n.Sandbox(r.ContainerID); ok {
		return s, nil // another call was faster
	}
	b, err := n.plan(r)
	if err != nil {
		return nil, err
	}
	n.boxes[b.ContainerID] = b
	if err := n.build(ctx, b); err != nil {
		return nil, errors.Join(err, n.demolish(context.WithoutCancel(ctx), b))
	}
	n.publish(b)
	n.answer()
	s, _ := n.Sandbox(b.ContainerID)
	return s, nil
}

// await returns with the gate's token once the state names all networks.
func (n *Network) await(ctx context.Context, overlays []cluster.Attachment) error {
	for {
		n.mu.Lock()
		changed := n.changed
		n.mu.Unlock()
		if err := n.enter(ctx); err != nil {
			return err
		}
		missing := slices.IndexFunc(overlays, func(a cluster.Attachment) bool { return len(a.Addresses) > 0 && n.links[a.NetworkID] == nil })
		if missing < 0 {
			return nil
		}
		n.leave()
		select {
		case <-changed:
		case <-ctx.Done():
			return cluster.Errorf(errdefs.ErrUnavailable, "network %s is not known to this node yet: %v", overlays[missing].NetworkID, ctx.Err())
		}
	}
}

// plan works out a container's place without touching the kernel.
func (n *Network) plan(r Request) (*box, error) {
	b := &box{Request: r}
	var overlays []cluster.Attachment
	for _, a := range r.Overlays {
		// A network of the node's own that a task names has no addresses: the node finds them.
		switch l, err := n.find(a.NetworkID); {
		case len(a.Addresses) > 0:
			overlays = append(overlays, a)
		case err != nil:
			return nil, err
		case l.Name == "host" || l.Name == "none":
			b.Mode = l.Name
		default:
			b.Local = append(slices.Clone(b.Local), LocalAttachment{Network: l.ID, Aliases: a.Aliases})
		}
	}
	switch owner, ok := strings.CutPrefix(b.Mode, "container:"); {
	case ok:
		if n.boxes[owner] == nil {
			return nil, cluster.Errorf(errdefs.ErrNotFound, "cannot join network of a container that is not running: %s", owner)
		}
		b.Owner = owner
		return b, nil
	case b.Mode == "host" || b.Mode == "none":
		return b, nil
	case b.Mode != "":
		return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "unknown network mode %s", b.Mode)
	}
	slices.SortStableFunc(overlays, func(x, y cluster.Attachment) int { return order(n.links[x.NetworkID]) - order(n.links[y.NetworkID]) })
	for _, a := range overlays {
		if err := n.overlay(b, a); err != nil {
			return nil, err
		}
	}
	for _, l := range b.Local {
		if err := n.local(b, l); err != nil {
			return nil, err
		}
	}
	b.chooseDefault(n)
	return b, n.claimPorts(b)
}

// order puts the ingress network behind those that users chose.
func order(l *cluster.NetworkLink) int {
	if l.Ingress {
		return 1
	}
	return 0
}

func (n *Network) overlay(b *box, a cluster.Attachment) error {
	l := n.links[a.NetworkID]
	if _, ok := n.self(); !ok {
		return cluster.Errorf(errdefs.ErrUnavailable, "network %s: the cluster's state does not name this node's data address", l.Name)
	}
	b.Names = true
	addresses := a.Addresses
	if !n.node.IPv6 {
		addresses = without6(addresses, netip.Prefix.Addr)
	}
	b.Places = append(b.Places, place{
		NetworkID: l.ID, NetworkName: l.Name, Interface: b.nextInterface(), Addresses: addresses,
		Aliases: a.Aliases, Gateways: l.Gateways,
	})
	return nil
}

func (n *Network) local(b *box, a LocalAttachment) error {
	l, err := n.find(a.Network)
	if err != nil {
		return err
	}
	if l.Name == "host" || l.Name == "none" {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "container cannot be connected to network endpoints: %s", l.Name)
	}
	addresses, err := n.address(l, a)
	if err != nil {
		return err
	}
	b.Names = b.Names || l.hasNames() || n.loopbackResolver()
	b.Places = append(b.Places, place{
		NetworkID: l.ID, NetworkName: l.Name, Local: true, Interface: b.nextInterface(), Addresses: addresses,
		Aliases: a.Aliases, Gateways: l.gateways(),
	})
	return nil
}

// nextInterface is the lowest name that the container has not.
func (b *box) nextInterface() string {
	for i := 0; ; i++ {
		name := fmt.Sprintf("eth%d", i)
		if !slices.ContainsFunc(b.Places, func(p place) bool { return p.Interface == name }) {
			return name
		}
	}
}

// chooseDefault: the ingress network, else the first that is not internal, else the first.
func (b *box) chooseDefault(n *Network) {
	best, rank := -1, 3
	for i, p := range b.Places {
		r := 1
		if net := n.lookup(p.NetworkID); net.Ingress {
			r = 0
		} else if net.Internal {
			r = 2
		}
		if r < rank {
			best, rank = i, r
		}
	}
	if best >= 0 {
		b.Places[best].Default = true
	}
}

// build puts a box into the kernel and on disk. The record is complete before the container can start.
func (n *Network) build(ctx context.Context, b *box) error {
	extra := plan.Kernel{}
	touched := map[string]bool{}
	if b.hasSpace() {
		in := n.input()
		nets := map[string]*plan.Net{}
		for _, net := range in.Networks {
			nets[net.ID] = net
		}
		var interfaces []plan.Interface
		for _, p := range b.Places {
			touched[p.NetworkID] = true
			interfaces = append(interfaces, plan.Interface{Net: nets[p.NetworkID], Name: p.Interface, Addr: p.Addresses, Default: p.Default})
		}
		extra[plan.ContainerNS(b.ContainerID)] = plan.Container(b.ContainerID, interfaces, b.Names)
	}
	// What the record calls not ready when the process dies, the next one takes down.
	if err := n.saveBox(b); err != nil {
		return err
	}
	if err := n.apply(ctx, touched, extra, nil); err != nil {
		return err
	}
	b.Ready = true
	return n.saveBox(b)
}

// demolish removes a box from everywhere.
func (n *Network) demolish(ctx context.Context, b *box) error {
	touched := map[string]bool{}
	for _, p := range b.Places {
		touched[p.NetworkID] = true
	}
	err := n.removeBox(b)
	n.answer()
	var spaces []plan.NS
	if b.hasSpace() {
		spaces = append(spaces, plan.ContainerNS(b.ContainerID))
		defer n.sweep(b)
	}
	return errors.Join(err, n.apply(ctx, touched, nil, spaces))
}

// Detach removes all that Attach made; an unknown container is no error.
func (n *Network) Detach(ctx context.Context, containerID string) error {
	if err := n.enter(ctx); err != nil {
		return err
	}
	defer n.leave()
	b := n.boxes[containerID]
	if b == nil {
		return nil
	}
	return n.demolish(ctx, b)
}

// Retain removes what containers hold that are not named: those that ended while the daemon was away.
func (n *Network) Retain(containerIDs []string) {
	if n.enter(context.Background()) != nil {
		return
	}
	defer n.leave()
	for _, b := range n.inOrder() {
		if slices.Contains(containerIDs, b.ContainerID) {
			continue
		}
		if err := n.demolish(context.Background(), b); err != nil {
			n.config.Log.Warn("network of a container that is gone not removed", "container", short(b.ContainerID), "err", err)
		}
	}
}

// loopbackResolver tells whether the node's own resolvers are such as a container cannot reach.
func (n *Network) loopbackResolver() bool {
	servers := n.dns.System()
	return len(n.config.DNS) == 0 && len(servers) > 0 && !slices.ContainsFunc(servers, func(s string) bool {
		a, err := netip.ParseAddr(s)
		return err != nil || !a.IsLoopback()
	})
}
