package kernel

import (
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"shoal/internal/network/plan"
)

// EndFlows forgets the connections whose replies come from one of the addresses. The next packet of such a client finds
// no translation and is answered by a reset.
func (k *Kernel) EndFlows(ns plan.NS, servers map[netip.Addr]bool) error {
	s, err := k.space(ns)
	if err != nil {
		return err
	}
	h, err := netlink.NewHandleAt(s.fd, unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer h.Close()
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		if _, err := h.ConntrackDeleteFilters(netlink.ConntrackTable, family, from(servers)); err != nil {
			return err
		}
	}
	return nil
}

// from matches connections by where their replies come from.
type from map[netip.Addr]bool

// MatchConntrackFlow is netlink's question.
func (f from) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	return f[addrOf(flow.Reverse.SrcIP)]
}
