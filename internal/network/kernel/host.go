package kernel

import (
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"

	"shoal/internal/network/plan"
)

// Node is what the host's network looks like apart from us.
type Node struct {
	// Prefixes are the subnets that the node has addresses in or routes to, ours excepted.
	Prefixes []netip.Prefix
	// MTU is that of the link with an address, and Link its name.
	MTU  map[netip.Addr]int
	Link map[netip.Addr]string
	// Default is the MTU of the default route's link; 1500 when there is none.
	Default int
	// IPv6 says that the kernel has it at all.
	IPv6 bool
}

// Node asks the kernel about the host.
func (k *Kernel) Node() (Node, error) {
	n := Node{MTU: map[netip.Addr]int{}, Link: map[netip.Addr]string{}, Default: 1500}
	_, err := os.Stat("/proc/sys/net/ipv6")
	n.IPv6 = err == nil
	s, err := k.space(plan.HostNS)
	if err != nil {
		return n, err
	}
	links, err := retry(s.links.LinkList)
	if err != nil {
		return n, err
	}
	mtu, name := map[int]int{}, map[int]string{}
	for _, l := range links {
		mtu[l.Attrs().Index], name[l.Attrs().Index] = l.Attrs().MTU, l.Attrs().Name
	}
	addrs, err := retry(func() ([]netlink.Addr, error) { return s.links.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return n, err
	}
	for _, a := range addrs {
		n.MTU[addrOf(a.IP)], n.Link[addrOf(a.IP)] = mtu[a.LinkIndex], name[a.LinkIndex]
		n.Prefixes = append(n.Prefixes, prefixOf(a.IPNet, 0).Masked())
	}
	routes, err := retry(func() ([]netlink.Route, error) { return s.links.RouteList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return n, err
	}
	for _, r := range routes {
		if r.Dst == nil || prefixOf(r.Dst, r.Family).Bits() == 0 {
			if m := mtu[r.LinkIndex]; m > 0 && r.Family != netlink.FAMILY_V6 {
				n.Default = m
			}
			continue
		}
		if r.Protocol != protocol {
			n.Prefixes = append(n.Prefixes, prefixOf(r.Dst, r.Family))
		}
	}
	return n, nil
}
