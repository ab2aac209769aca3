package network

import (
	"context"
	"strings"
	"time"

	"shoal/internal/network/plan"
)

// guardTime is how long the mesh may be shut after another firewall's reload has taken our accepts from its chains, and how
// long a port of it may be in the way of a process of root that has begun to listen there.
const guardTime = 5 * time.Second

// guard sees to both, until the network is closed. Nobody tells of a reload but the kernel, and its events come with every
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
		if err := n.yieldLate(context.Background()); err != nil {
			n.config.Log.Warn("the node's own listeners not looked at", "err", err)
		}
		if host := n.have[plan.HostNS]; host != nil && len(host.Links) > 0 {
			if err := n.accept(true); err != nil {
				n.config.Log.Warn("other tables' forward chains not looked at", "err", err)
			}
		}
		n.leave()
	}
}

// accept lets the uplinks through other firewalls, or no longer. A table that only its owner may change is told of once.
func (n *Network) accept(on bool) error {
	shut, err := n.kernel.Accept(n.config.Prefix, on)
	if err != nil {
		return err
	}
	if list := strings.Join(shut, ", "); list != n.shut {
		if n.shut = list; on && list != "" {
			n.config.Log.Warn("containers' ways out are shut by tables that nobody but their owner may change: let "+n.config.Prefix+"-* through there", "tables", list)
		}
	}
	return nil
}
