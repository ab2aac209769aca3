package network

import (
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"

	"shoal/internal/cluster"
)

// meshPorts are the mesh's ports without those that a process of this node listened on when the mesh first had them: the
// rules would take the connections away from it, and the node's own sshd must stay in reach. Elsewhere such a port works.
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
			if n.yielded == nil {
				n.yielded = map[claim]bool{}
			}
			n.yielded[c] = true
		}
	}
	for c := range n.yielded {
		if !seen[c] {
			delete(n.yielded, c)
		}
	}
	n.seen = seen
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
