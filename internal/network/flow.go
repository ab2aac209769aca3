package network

import (
	"net/netip"

	"shoal/internal/cluster"
	"shoal/internal/network/plan"
)

// endFlows ends the connections that this node tracks to endpoints that are gone from the state: those of a dead node,
// or of tasks that ended. Without it a client whose server's node died hangs for as long as its kernel retries; with it
// its next packet is answered by a reset. Tasks that merely drain are still in the state, and keep their connections.
func (n *Network) endFlows(before map[string]*cluster.NetworkLink) {
	for id, old := range before {
		now := n.links[id]
		if now == nil {
			continue
		}
		gone := map[netip.Addr]bool{}
		for _, e := range old.Endpoints {
			for _, a := range e.Addresses {
				gone[a] = true
			}
		}
		for _, e := range now.Endpoints {
			for _, a := range e.Addresses {
				delete(gone, a)
			}
		}
		net := n.lookup(id)
		if len(gone) == 0 || n.have[net.NS()] == nil {
			continue
		}
		spaces := []plan.NS{net.NS()}
		if net.Ingress {
			spaces = append(spaces, plan.HostNS) // the entry node translated there
		}
		for _, ns := range spaces {
			if err := n.kernel.EndFlows(ns, gone); err != nil {
				n.config.Log.Warn("connections to endpoints that are gone not ended", "network", net.Name, "err", err)
			}
		}
	}
}
