package kernel

import (
	"errors"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"shoal/internal/network/plan"
)

// Flow is a TCP connection as its client sees it.
type Flow struct{ Client, Server netip.AddrPort }

// tcpEstablished is the state of a connection that neither side has begun to close (nf_conntrack_tcp.h).
const tcpEstablished = 3

// EndFlows forgets the connections whose replies come from one of the addresses, and returns those of TCP that are
// established. The next packet of such a client finds no translation and is answered by a reset; one that only waits must
// be ended where its socket is, or be made to send something: see EndSocket and Nudge.
func (k *Kernel) EndFlows(ns plan.NS, servers map[netip.Addr]bool) ([]Flow, error) {
	s, err := k.space(ns)
	if err != nil {
		return nil, err
	}
	h, err := netlink.NewHandleAt(s.fd, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	f := &from{servers: servers}
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		if _, err := h.ConntrackDeleteFilters(netlink.ConntrackTable, family, f); err != nil {
			return f.flows, err
		}
	}
	return f.flows, nil
}

// from matches connections by where their replies come from, and notes them.
type from struct {
	servers map[netip.Addr]bool
	flows   []Flow
}

// MatchConntrackFlow is netlink's question.
func (f *from) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	if !f.servers[addrOf(flow.Reverse.SrcIP)] {
		return false
	}
	if state, ok := flow.ProtoInfo.(*netlink.ProtoInfoTCP); flow.Forward.Protocol == unix.IPPROTO_TCP && (!ok || state.State == tcpEstablished) {
		f.flows = append(f.flows, Flow{netip.AddrPortFrom(addrOf(flow.Forward.SrcIP), flow.Forward.SrcPort), netip.AddrPortFrom(addrOf(flow.Forward.DstIP), flow.Forward.DstPort)})
	}
	return true
}

// EndSocket aborts a client's socket: its reads and writes fail at once. A socket that is gone is no error.
func (k *Kernel) EndSocket(ns plan.NS, f Flow) error {
	s, err := k.space(ns)
	if err != nil {
		return err
	}
	h, err := netlink.NewHandleAt(s.fd, unix.NETLINK_INET_DIAG)
	if err != nil {
		return err
	}
	defer h.Close()
	err = h.SocketDestroy(net.TCPAddrFromAddrPort(f.Client), net.TCPAddrFromAddrPort(f.Server))
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}
