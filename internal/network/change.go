package network

import (
	"context"
	"net/netip"
	"time"

	"github.com/containerd/errdefs"

	"shoal/internal/cluster"
	"shoal/internal/network/plan"
)

// lookTime is how long the node's addresses and other firewalls are taken to be as they were seen: changes can come
// hundreds of times a second.
const lookTime = time.Second

// Change brings kernel and name server from the state that they hold to the next. It costs as much as what it changes.
// It is an error of class failed precondition when the delta does not begin at the state that was taken last: the whole
// state must be set then. A delta that was taken and whose call failed may come again; everything is read and repaired.
func (n *Network) Change(ctx context.Context, d cluster.NetworkDelta) error {
	if err := n.enter(ctx); err != nil {
		return err
	}
	defer n.leave()
	if d.Index == n.state.Index && d.Index != d.Base {
		return n.apply(ctx, nil, nil, nil)
	}
	if d.Base != n.state.Index {
		return cluster.Errorf(errdefs.ErrFailedPrecondition, "a change of the network state at %d does not lead on from %d", d.Base, n.state.Index)
	}
	if !n.node.IPv6 {
		d = deltaOnlyIPv4(d)
	}
	if n.structural(d) {
		return n.restate(ctx, d)
	}
	if d.PortServices != nil {
		n.state.Ports = d.PortsFrom(n.state.Ports)
		n.yieldPorts(n.state.Ports)
	}
	n.state.Index = d.Index
	parts := make(map[string]changed, len(d.Networks))
	for _, l := range d.Networks {
		before, after := n.members[l.ID].Change(l)
		parts[l.ID] = changed{before, after}
		// Names first: who asks from now on is not sent to what is about to leave the tables.
		if names := n.names[l.ID]; names != nil {
			names.Change(listed(before), listed(after))
		}
	}
	n.saver.note(d, n.whole)
	what := scope{members: parts, host: d.PortServices != nil}
	if time.Since(n.looked) > lookTime {
		moved, err := n.look()
		if err != nil {
			return err
		}
		what.all, what.host, what.accept = moved, true, true
	}
	if err := n.program(ctx, what); err != nil {
		return err
	}
	for id, c := range parts {
		n.endFlows(id, leftOf(c))
	}
	return nil
}

// changed is what a change of a network's members concerns.
type changed struct{ before, after plan.Part }

func listed(p plan.Part) cluster.NetworkLink {
	return cluster.NetworkLink{Endpoints: p.Endpoints, Services: p.Services}
}

// leftOf are the addresses of endpoints that are there no more.
func leftOf(c changed) map[netip.Addr]bool {
	left := map[netip.Addr]bool{}
	for _, e := range c.before.Endpoints {
		for _, a := range e.Addresses {
			left[a] = true
		}
	}
	for _, e := range c.after.Endpoints {
		for _, a := range e.Addresses {
			delete(left, a)
		}
	}
	return left
}

// structural says whether a delta changes more than members of networks and ports, or the kernel must be read anew.
func (n *Network) structural(d cluster.NetworkDelta) bool {
	if d.NodesSet || len(d.Gone) > 0 || n.have[plan.HostNS] == nil {
		return true
	}
	for _, l := range d.Networks {
		if l.Head != nil || n.links[l.ID] == nil || n.members[l.ID] == nil {
			return true
		}
	}
	// The first port brings the ingress network, and the last one takes it away.
	return d.PortServices != nil && (len(n.state.Ports) == 0) != (len(d.PortsFrom(n.state.Ports)) == 0)
}

// restate takes a delta as a whole state.
func (n *Network) restate(ctx context.Context, d cluster.NetworkDelta) error {
	state, err := n.whole().With(d)
	if err != nil {
		return err
	}
	return n.set(ctx, state)
}

// whole is the state with all members listed.
func (n *Network) whole() cluster.NetworkState {
	state := n.state
	state.Networks = nil
	for _, l := range n.state.Networks {
		n.members[l.ID].Into(&l)
		state.Networks = append(state.Networks, l)
	}
	return state
}

// look reads the node's addresses, and says whether anything is others than before that networks are made by. (Ports that
// are bound to addresses are the host's part.)
func (n *Network) look() (moved bool, _ error) {
	node, err := n.kernel.Node()
	if err != nil {
		return false, err
	}
	before := n.underlay()
	n.node, n.looked = node, time.Now()
	return n.underlay() != before, nil
}

// underlay is what networks are made by of the node.
type underlay struct {
	self          cluster.NodeLink
	own, standard int // MTUs
	ipv6          bool
}

func (n *Network) underlay() underlay {
	self, _ := n.self()
	return underlay{self, n.node.MTU[self.Addr], n.node.Default, n.node.IPv6}
}

func deltaOnlyIPv4(d cluster.NetworkDelta) cluster.NetworkDelta {
	s := cluster.NetworkState{Networks: make([]cluster.NetworkLink, len(d.Networks))}
	for i, l := range d.Networks {
		if l.Head != nil {
			s.Networks[i] = *l.Head
		}
		s.Networks[i].Endpoints, s.Networks[i].Services = l.Endpoints, l.Services
	}
	s = onlyIPv4(s)
	changes := make([]cluster.LinkDelta, len(d.Networks))
	for i, l := range d.Networks {
		changes[i] = l
		changes[i].Endpoints, changes[i].Services = s.Networks[i].Endpoints, s.Networks[i].Services
		if l.Head != nil {
			head := s.Networks[i].Head()
			changes[i].Head = &head
		}
	}
	d.Networks = changes
	return d
}
