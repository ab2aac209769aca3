package kernel

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"shoal/internal/network/plan"
)

// Read asks the kernel what a namespace holds of ours. In the host's namespace that is links that begin with prefix and a
// dash, what is on them, and tables named prefix; elsewhere everything but what the kernel adds by itself. Of sysctls it
// reads those that want names.
func (k *Kernel) Read(ns plan.NS, prefix string, want map[string]string) (*plan.Namespace, error) {
	s, err := k.space(ns)
	if err != nil {
		return nil, err
	}
	r := &reader{space: s, devices: k.tunnels, at: ns, ns: plan.NewNamespace(), names: map[int]string{}, ours: func(name string) bool {
		return ns != plan.HostNS || strings.HasPrefix(name, prefix+"-")
	}}
	for _, step := range []func() error{r.links, r.tunnels, r.addresses, r.neighbours, r.routes, r.rules} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	if ns == plan.HostNS {
		clear(r.ns.Rules)
	}
	if err := k.readTables(ns, s, prefix, r.ns); err != nil {
		return nil, err
	}
	err = k.In(ns, func() error {
		for path := range want {
			b, err := os.ReadFile(filepath.Join("/proc/sys", path))
			if err != nil && !os.IsNotExist(err) {
				return err
			}
			r.ns.Sysctls[path] = strings.TrimSpace(string(b))
		}
		return nil
	})
	return r.ns, err
}

type reader struct {
	*space
	devices Tunnels
	at      plan.NS
	ns      *plan.Namespace
	names   map[int]string
	ours    func(name string) bool
}

func (r *reader) links() error {
	list, err := retry(r.space.links.LinkList)
	if err != nil {
		return err
	}
	for _, l := range list {
		a := l.Attrs()
		if !r.ours(a.Name) {
			continue
		}
		r.names[a.Index] = a.Name
		if a.Flags&net.FlagUp == 0 {
			continue // made but not brought up: to be made again
		}
		out := plan.Link{MTU: a.MTU}
		copy(out.MAC[:], a.HardwareAddr)
		switch l := l.(type) {
		case *netlink.Veth:
			out.Kind = plan.Veth
		case *netlink.Vxlan:
			out.Kind, out.VNI = plan.VXLAN, uint32(l.VxlanId)
			out.Local = addrOf(l.SrcAddr)
		default:
			if a.Flags&net.FlagLoopback == 0 {
				continue
			}
			out = plan.Link{Kind: plan.Loopback}
		}
		r.ns.Links[a.Name] = out
	}
	return nil
}

func (r *reader) addresses() error {
	list, err := retry(func() ([]netlink.Addr, error) { return r.space.links.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return err
	}
	for _, a := range list {
		name, ok := r.names[a.LinkIndex]
		ip := addrOf(a.IP)
		// A link-local address of ours has no bits of a MAC in it.
		if !ok || ip.IsLoopback() || ip.Is6() && ip.IsLinkLocalUnicast() && ip.As16()[11] == 0xff {
			continue
		}
		ones, _ := a.Mask.Size()
		r.ns.Addrs[plan.Addr{Link: name, Prefix: netip.PrefixFrom(ip, ones), NoRoute: a.Flags&unix.IFA_F_NOPREFIXROUTE != 0}] = struct{}{}
	}
	return nil
}

func (r *reader) routes() error {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		// Table 0 with its mask set means all tables.
		list, err := retry(func() ([]netlink.Route, error) {
			return r.space.links.RouteListFiltered(family, &netlink.Route{Protocol: protocol}, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
		})
		if err != nil {
			return err
		}
		for _, route := range list {
			name, ok := r.names[route.LinkIndex]
			if !ok || route.Protocol != protocol {
				continue
			}
			dst := plan.Dst{Prefix: prefixOf(route.Dst, family), Table: route.Table}
			if dst.Table == unix.RT_TABLE_MAIN {
				dst.Table = 0
			}
			r.ns.Routes[dst] = plan.Route{Link: name, Via: addrOf(route.Gw), Src: addrOf(route.Src), Local: route.Type == unix.RTN_LOCAL}
		}
	}
	return nil
}

func (r *reader) neighbours() error {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6, unix.AF_BRIDGE} {
		list, err := retry(func() ([]netlink.Neigh, error) { return r.space.links.NeighList(0, family) })
		if err != nil {
			return err
		}
		for _, n := range list {
			name, ok := r.names[n.LinkIndex]
			if !ok || n.State&netlink.NUD_PERMANENT == 0 || len(n.HardwareAddr) != 6 {
				continue
			}
			mac := plan.MAC(n.HardwareAddr)
			switch {
			case family != unix.AF_BRIDGE:
				r.ns.Neighs[plan.Neigh{Link: name, IP: addrOf(n.IP)}] = mac
			case n.Flags&netlink.NTF_SELF != 0 && n.IP != nil:
				r.ns.FDB[plan.Bridge{Link: name, MAC: mac}] = addrOf(n.IP)
			}
		}
	}
	return nil
}

func (r *reader) rules() error {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := retry(func() ([]netlink.Rule, error) { return r.space.links.RuleList(family) })
		if err != nil {
			return err
		}
		for _, rule := range list {
			if rule.Protocol == protocol && rule.Mask != nil {
				r.ns.Rules[plan.Rule{Mark: rule.Mark, Mask: *rule.Mask, Table: rule.Table, V6: family == netlink.FAMILY_V6}] = struct{}{}
			}
		}
	}
	return nil
}

// retry asks again when the kernel's tables changed while it told them, a few times.
func retry[T any](list func() ([]T, error)) ([]T, error) {
	out, err := list()
	for try := 0; try < 5 && errors.Is(err, netlink.ErrDumpInterrupted); try++ {
		out, err = list()
	}
	return out, err
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

func prefixOf(n *net.IPNet, family int) netip.Prefix {
	if n == nil {
		if family == netlink.FAMILY_V6 {
			return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(addrOf(n.IP), ones)
}
