package network

import (
	"context"
	"time"

	"shoal/internal/network/plan"
)

// guardTime is how long the mesh may be shut after another firewall's reload has taken our accepts from its chains.
const guardTime = 5 * time.Second

// guard puts them back, until the network is closed. Nobody tells of a reload but the kernel, and its events come with every
// change of ours too: one look at the list of chains is cheaper.
func (n *Network) guard() {
	tick := time.NewTicker(guardTime)
	defer tick.Stop()
	for {
		select {
		case <-n.closed:
			return
		case <-tick.C:
		}
		if n.enter(context.Background()) != nil {
			return
		}
		if host := n.have[plan.HostNS]; host != nil && len(host.Links) > 0 {
			if err := n.kernel.Accept(n.config.Prefix, true); err != nil {
				n.config.Log.Warn("other tables' forward chains not looked at", "err", err)
			}
		}
		n.leave()
	}
}
