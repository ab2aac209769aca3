package network

import (
	"context"
	"errors"
	"net/netip"

	api "github.com/moby/moby/api/types/network"
	"golang.org/x/sys/unix"

	"shoal/internal/cluster"
	"shoal/internal/network/kernel"
)

// meshPorts are the mesh's ports without those that this node keeps: where a process listened when the mesh first had the
// port, or one of root's does since. The rules would take the connections away from it, and the node's own sshd must stay in
// reach, also when it starts after this daemon. Elsewhere such a port works.
func (n *Network) meshPorts() []cluster.Port {
	if len(n.yielded) == 0 {
		return n.state.Ports
	}
	var out []cluster.Port
	for _, p := range n.state.Ports {
		if !n.yielded[claimOf(p)] {
			out = append(out, p)
		}
	}
	return out
}

func claimOf(p cluster.Port) claim { return claim{protocolOf(p.Config), p.Config.PublishedPort} }

// yieldPorts decides about the ports that are new in the state; old ones stay as they were decided.
func (n *Network) yieldPorts(ports []cluster.Port) {
	seen := make(map[claim]bool, len(ports))
	for _, p := range ports {
		c := claimOf(p)
		taken, known := n.yielded[c], n.seen[c]
		if !known {
			if taken = n.listened(p); taken {
				n.config.Log.Warn("a process of this node listens on a port of the routing mesh, and keeps it on this node",
					"port", c.port, "protocol", c.proto, "service", p.ServiceID)
			}
		}
		seen[c] = true
		if taken {
			n.yield(c)
		}
	}
	for c := range n.yielded {
		if !seen[c] {
			delete(n.yielded, c)
		}
	}
	n.seen = seen
}

func (n *Network) yield(c claim) {
	if n.yielded == nil {
		n.yielded = map[claim]bool{}
	}
	n.yielded[c] = true
}

// yieldLate gives up the ports that a process of root listens on since they were the mesh's. Anybody else's stays shadowed:
// else an unprivileged process could take a service's port. The kernel tells nobody of a new listener, so this is asked.
func (n *Network) yieldLate(ctx context.Context) error {
	byProto := map[api.IPProtocol][]kernel.Listener{}
	late := false
	for _, p := range n.state.Ports {
		c := claimOf(p)
		number, ok := map[api.IPProtocol]uint8{api.TCP: unix.IPPROTO_TCP, api.UDP: unix.IPPROTO_UDP}[c.proto]
		if !ok || n.yielded[c] {
			continue
		}
		list, asked := byProto[c.proto]
		if !asked {
			var err error
			if list, err = n.kernel.Listeners(number); err != nil {
				return err
			}
			byProto[c.proto] = list
		}
		for _, l := range list {
			if l.UID == 0 && l.Addr.Port() == uint16(c.port) && n.shadows(p, l.Addr.Addr()) {
				n.config.Log.Warn("a process of root listens on a port of the routing mesh, and has it on this node from now on",
					"port", c.port, "protocol", c.proto, "service", p.ServiceID)
				n.yield(c)
				late = true
				break
			}
		}
	}
	if !late {
		return nil
	}
	return n.program(ctx, scope{host: true})
}

// shadows says whether the mesh's rules for a port would take what comes to a listener's address.
func (n *Network) shadows(p cluster.Port, listener netip.Addr) bool {
	if !p.Bind.Limits() {
		return true
	}
	for own := range n.node.MTU {
		if p.Bind.Has(own, n.node.Link[own]) && (listener.IsUnspecified() || listener == own) {
			return true
		}
	}
	return false
}

// listened says whether a process of the node has the port, on an address that the mesh would answer on.
func (n *Network) listened(p cluster.Port) bool {
	c := claimOf(p)
	if !p.Bind.Limits() {
		return errors.Is(tryBind(c.proto, c.port, netip.Addr{}), unix.EADDRINUSE)
	}
	for own := range n.node.MTU {
		if p.Bind.Has(own, n.node.Link[own]) && errors.Is(tryBind(c.proto, c.port, own), unix.EADDRINUSE) {
			return true
		}
	}
	return false
}
