package network

import (
	"context"
	"maps"
	"net/netip"
	"slices"

	"shoal/internal/cluster"
	"shoal/internal/network/plan"
)

// Set makes kernel and name server hold the state, which is the whole of it: what it does not name goes. It returns when
// they do. After an error part of it may hold; the next Set reads the kernel again and repairs. The state's lists must not
// be changed afterwards.
func (n *Network) Set(ctx context.Context, state cluster.NetworkState) error {
	if err := n.enter(ctx); err != nil {
		return err
	}
	defer n.leave()
	return n.set(ctx, state)
}

func (n *Network) set(ctx context.Context, state cluster.NetworkState) error {
	// The node's addresses may have changed, and another firewall may have been loaded.
	if _, err := n.look(); err != nil {
		return err
	}
	before := n.members
	n.take(state)
	n.saver.save(state)
	// Names first: who asks from now on is not sent to what is about to leave the tables.
	n.answer()
	n.mu.Lock()
	close(n.changed)
	n.changed = make(chan struct{})
	n.mu.Unlock()
	if err := n.apply(ctx, nil, nil, nil); err != nil {
		return err
	}
	for id, old := range before {
		if n.links[id] != nil {
			n.endFlows(id, old.Left(n.members[id]))
		}
	}
	return nil
}

// take makes the state the newest. A network that a container is still in stays, with nobody else in it.
func (n *Network) take(state cluster.NetworkState) {
	if !n.node.IPv6 {
		state = onlyIPv4(state)
	}
	links := make(map[string]*cluster.NetworkLink, len(state.Networks))
	members := make(map[string]*plan.Members, len(state.Networks))
	heads := make([]cluster.NetworkLink, len(state.Networks))
	for i := range state.Networks {
		heads[i] = state.Networks[i].Head()
		links[heads[i].ID], members[heads[i].ID] = &heads[i], plan.NewMembers(&state.Networks[i])
	}
	state.Networks = heads
	for _, b := range n.boxes {
		for _, p := range b.Places {
			if old := n.links[p.NetworkID]; !p.Local && links[p.NetworkID] == nil && old != nil {
				links[p.NetworkID], members[p.NetworkID] = old, plan.NewMembers(old)
			}
		}
	}
	n.yieldPorts(state.Ports)
	n.state, n.links, n.members = state, links, members
	clear(n.names)
}

// self is this node among the state's.
func (n *Network) self() (cluster.NodeLink, bool) {
	for _, node := range n.state.Nodes {
		if _, here := n.node.MTU[node.Addr]; node.ID == n.nodeID && n.nodeID != "" || n.nodeID == "" && here {
			return node, true
		}
	}
	return cluster.NodeLink{}, false
}

// lookup is a network by ID as plans want it, without places.
func (n *Network) lookup(id string) *plan.Net {
	if l := n.locals[id]; l != nil {
		mtu := n.config.MTU
		if mtu == 0 {
			mtu = n.node.Default
		}
		return &plan.Net{Local: true, Number: l.Number, NetworkLink: cluster.NetworkLink{
			ID: l.ID, Name: l.Name, Subnets: l.subnets(),
			Gateways: l.gateways(), Internal: l.Internal, MTU: mtu,
		}}
	}
	link := n.links[id]
	if link == nil {
		return nil
	}
	net := &plan.Net{NetworkLink: *link}
	if net.MTU == 0 {
		net.MTU = n.config.MTU
	}
	if net.MTU == 0 {
		self, _ := n.self()
		under := n.node.Default
		if m := n.node.MTU[self.Addr]; m > 0 {
			under = m
		}
		net.MTU = under - plan.Overhead(net, self.Addr.Is6())
	}
	return net
}

// input is what the plans are made from: the networks with a container here, and the ingress network while the mesh has
// a port.
func (n *Network) input() plan.Input {
	self, swarm := n.self()
	in := plan.Input{
		Prefix: n.config.Prefix, Self: self, Nodes: n.state.Nodes, Zones: !n.config.NoZones, HostPorts: n.hostPorts(),
		Addresses: slices.SortedFunc(maps.Keys(n.node.MTU), netip.Addr.Compare), Links: n.node.Link,
	}
	nets := map[string]*plan.Net{}
	for _, b := range n.inOrder() {
		for _, p := range b.Places {
			net := nets[p.NetworkID]
			if net == nil {
				if net = n.lookup(p.NetworkID); net == nil {
					continue
				}
				nets[p.NetworkID] = net
			}
			net.Places = append(net.Places, plan.Place{Container: b.ContainerID, Interface: p.Interface, Addrs: p.Addresses})
		}
	}
	if swarm && len(n.state.Ports) > 0 {
		for id, l := range n.links {
			if l.Ingress {
				in.Mesh = n.meshPorts()
				if nets[id] == nil {
					nets[id] = n.lookup(id)
				}
			}
		}
	}
	for _, net := range nets {
		in.Networks = append(in.Networks, net)
	}
	slices.SortFunc(in.Networks, func(a, b *plan.Net) int {
		if a.NS() < b.NS() {
			return -1
		}
		return 1
	})
	return in
}
