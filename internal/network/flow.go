package network

import (
	"net/netip"

	"shoal/internal/network/kernel"
	"shoal/internal/network/plan"
)

// endFlows ends the connections that this node tracks to endpoints of a network that are gone from the state: those of a
// dead node, or of tasks that ended. Without it a client whose server's node died hangs for as long as its kernel retries;
// with it its next packet is answered by a reset. Tasks that merely drain are still in the state, and keep their
// connections.
func (n *Network) endFlows(id string, gone map[netip.Addr]bool) {
	net := n.lookup(id)
	if len(gone) == 0 || net == nil || n.have[net.NS()] == nil {
		return
	}
	spaces := []plan.NS{net.NS()}
	if net.Ingress {
		spaces = append(spaces, plan.HostNS) // the entry node translated there
	}
	for _, ns := range spaces {
		flows, err := n.kernel.EndFlows(ns, gone)
		if err != nil {
			n.config.Log.Warn("connections to endpoints that are gone not ended", "network", net.Name, "err", err)
		}
		n.endSockets(id, flows)
		if ns == plan.HostNS {
			n.endOutside(flows)
		}
	}
}

// endSockets wakes the clients among this node's containers, which may be waiting for an answer that never comes.
func (n *Network) endSockets(networkID string, flows []kernel.Flow) {
	if len(flows) == 0 {
		return
	}
	owner := map[netip.Addr]string{}
	for _, b := range n.boxes {
		for _, p := range b.Places {
			if p.NetworkID != networkID {
				continue
			}
			for _, a := range p.Addresses {
				owner[a.Addr()] = b.ContainerID
			}
		}
	}
	for _, f := range flows {
		id := owner[f.Client.Addr()]
		if id == "" {
			continue
		}
		ns := plan.ContainerNS(id)
		if err := n.kernel.EndSocket(ns, f); err != nil {
			n.config.Log.Warn("connection to an endpoint that is gone not ended", "container", short(id), "err", err)
		}
		n.kernel.Forget(ns)
	}
}

// endOutside does the same for clients of the routing mesh: programs of this node, and those of other machines.
func (n *Network) endOutside(flows []kernel.Flow) {
	far := flows[:0:0]
	for _, f := range flows {
		if _, own := n.node.MTU[f.Client.Addr()]; !own {
			far = append(far, f)
		} else if err := n.kernel.EndSocket(plan.HostNS, f); err != nil {
			n.config.Log.Warn("connection of a program of this node to an endpoint that is gone not ended", "client", f.Client, "err", err)
		}
	}
	if err := n.kernel.Nudge(far); err != nil {
		n.config.Log.Debug("clients of endpoints that are gone not told", "err", err)
	}
}
