package network

import (
	"context"
	"time"

	"shoal/internal/network/plan"
)

// sweepTime is how long the kernel may take to remove a container's links with its network namespace. It does so in
// milliseconds, unless a connection of the container's still has something to send to somebody who does not listen: that
// keeps the namespace for minutes.
const sweepTime = 2 * time.Second

// sweep removes, after a while, what is left then of a container's links. Asking for it at once would wait for the kernel,
// tens of milliseconds for each of the many that need it not.
func (n *Network) sweep(b *box) {
	var ops []plan.Op
	for _, p := range b.Places {
		if net := n.lookup(p.NetworkID); net != nil {
			ops = append(ops, plan.Op{NS: net.NS(), Delete: true, Item: plan.LinkItem{Name: plan.VethOf(b.ContainerID, p.NetworkID), Link: plan.Link{Kind: plan.Veth}}})
		}
	}
	if len(ops) == 0 {
		return
	}
	time.AfterFunc(sweepTime, func() {
		ctx := context.Background()
		if n.enter(ctx) != nil {
			return
		}
		defer n.leave()
		for _, op := range ops {
			if n.have[op.NS] == nil || n.boxes[b.ContainerID] != nil {
				continue // the network is gone with all in it, or the container is in it again
			}
			if err := n.kernel.Apply(ctx, []plan.Op{op}); err != nil {
				n.config.Log.Warn("link of a container that is gone not removed", "container", short(b.ContainerID), "err", err)
			}
		}
	})
}
