package plan

import (
	"net/netip"

	"shoal/internal/cluster"
)

// The ends of every uplink. They lie in no subnet: routes through them are onlink.
var (
	uplinkHost = map[bool]netip.Addr{false: netip.MustParseAddr("169.254.2.1"), true: netip.MustParseAddr("fe80::a")}
	uplinkN    = map[bool]netip.Addr{false: netip.MustParseAddr("169.254.2.2"), true: netip.MustParseAddr("fe80::b")}
)

const (
	vxlanLink = "vx0"
	upLink    = "up0"
)

// Overlay is the namespace N of one network on this node.
func Overlay(in Input, n *Net) *Namespace {
	ns := NewNamespace()
	ns.Links["lo"] = Link{Kind: Loopback}
	ns.Addrs[Addr{Link: "lo", Prefix: host(ResolverAddr)}] = struct{}{}
	routing(ns, n)
	if n.hasUplink() {
		up(in, ns, n)
	}
	for _, p := range n.Places {
		place(ns, n, p)
	}
	switch {
	case n.Local:
	case n.Encrypted:
		encrypt(in, ns, n)
	default:
		peers(in, ns, n)
	}
	for _, f := range families {
		if !n.has(f) {
			continue
		}
		for _, s := range n.Services {
			for _, a := range s.Addresses {
				if f.holds(a) {
					// The address is N's own: ping answers, and a service without a live task is refused at once.
					ns.Routes[Dst{Prefix: host(a)}] = Route{Link: "lo", Local: true}
				}
			}
		}
		// The ingress network's N has NAT even without services: it gives a second connection of the same addresses and
		// ports, which zones let in, a port of its own towards the task.
		if len(n.Services) > 0 || n.Rest.Services > 0 || n.Ingress {
			ns.Tables[TableID{f.table, "shoal"}] = VIPs(n, f)
			ns.Tables[TableID{f.table, "shoal_self"}] = hairpin(n, f)
		}
	}
	ns.Tables[TableID{"ip", "shoal_dns"}] = resolverTable()
	if n.Ingress {
		returnPath(in, ns, n)
	}
	return ns
}

func routing(ns *Namespace, n *Net) {
	for _, key := range []string{
		"net/ipv4/conf/all/rp_filter", "net/ipv4/conf/default/rp_filter",
		"net/ipv4/conf/all/send_redirects", "net/ipv4/conf/default/send_redirects",
	} {
		ns.Sysctls[key] = "0"
	}
	ns.Sysctls["net/ipv4/ip_forward"] = "1"
	ns.Sysctls["net/ipv6/conf/default/addr_gen_mode"] = "1" // no link-local addresses but those the plan gives
	ns.Sysctls["net/ipv6/conf/default/disable_ipv6"], ns.Sysctls["net/ipv6/conf/all/forwarding"] = "1", "0"
	if n.has(v6) {
		ns.Sysctls["net/ipv6/conf/default/disable_ipv6"], ns.Sysctls["net/ipv6/conf/all/forwarding"] = "0", "1"
	}
}

// up is N's end of the uplink to the host, the way out.
func up(in Input, ns *Namespace, n *Net) {
	_, mac := named("", "up", in.Prefix, n.key())
	ns.Links[upLink] = Link{Kind: Veth, MAC: mac, MTU: n.MTU, PeerNS: HostNS, PeerName: n.uplink(in.Prefix)}
	for _, f := range families {
		if !n.has(f) {
			continue
		}
		ns.Addrs[Addr{Link: upLink, Prefix: uplinkPrefix(f, uplinkN[f.v6])}] = struct{}{}
		if !f.v6 {
			ns.Routes[Dst{Prefix: host(uplinkHost[false])}] = Route{Link: upLink}
		}
		ns.Routes[Dst{Prefix: anywhere(f)}] = Route{Link: upLink, Via: uplinkHost[f.v6]}
	}
}

func uplinkPrefix(f family, a netip.Addr) netip.Prefix {
	if f.v6 {
		return netip.PrefixFrom(a, 64)
	}
	return host(a)
}

func anywhere(f family) netip.Prefix { return netip.PrefixFrom(zero(f), 0) }

func zero(f family) netip.Addr {
	if f.v6 {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}

// place is N's end of a container's link.
func place(ns *Namespace, n *Net, p Place) {
	name, mac := named("v", p.Container, n.ID)
	ns.Links[name] = Link{Kind: Veth, MAC: mac, MTU: n.MTU, PeerNS: ContainerNS(p.Container), PeerName: p.Interface}
	for _, a := range p.Addrs {
		f := familyOf(a.Addr())
		ns.Routes[Dst{Prefix: host(a.Addr())}] = Route{Link: name}
		if f.v6 {
			ns.Addrs[Addr{Link: name, Prefix: netip.PrefixFrom(f.gateway, 64)}] = struct{}{}
		}
	}
}

// peers are the other nodes of the network and the containers behind them.
func peers(in Input, ns *Namespace, n *Net) {
	ns.Links[vxlanLink] = Link{Kind: VXLAN, MAC: nodeMAC(in.Self.Number), MTU: n.MTU, VNI: n.VNI, Local: in.Self.Addr}
	nodes := make(map[string]cluster.NodeLink, len(in.Nodes))
	for _, node := range in.Nodes {
		nodes[node.ID] = node
	}
	used := map[string]bool{}
	for _, id := range n.Rest.Nodes {
		used[id] = true
	}
	for _, e := range n.Endpoints {
		node, ok := nodes[e.NodeID]
		if !ok || e.NodeID == in.Self.ID {
			continue
		}
		used[e.NodeID] = true
		for _, a := range e.Addresses {
			ns.Routes[Dst{Prefix: host(a)}] = Route{Link: vxlanLink, Via: familyOf(a).nextHop(node.Number)}
		}
	}
	for _, node := range in.Nodes {
		// Any node may be the one that a client of the mesh talks to.
		if node.ID == in.Self.ID || !used[node.ID] && !n.Ingress {
			continue
		}
		mac := nodeMAC(node.Number)
		ns.FDB[Bridge{vxlanLink, mac}] = node.Addr
		for _, f := range families {
			if n.has(f) {
				ns.Neighs[Neigh{vxlanLink, f.nextHop(node.Number)}] = mac
			}
		}
	}
}

// resolverTable keeps DNS out of conntrack, and keeps N silent while no daemon answers, so that libc asks again instead
// of giving up.
func resolverTable() *Table {
	t := NewTable()
	dns := func(word, port_ string) []statement {
		return []statement{v4.in(word, false, host(ResolverAddr)), l4(17), port(port_, 53), notrack}
	}
	t.Chains["pre"] = &Chain{Type: "filter", Hook: "prerouting", Priority: -300, Rules: []RuleText{rule(dns("daddr", "dport")...)}}
	t.Chains["out"] = &Chain{Type: "filter", Hook: "output", Priority: -300, Rules: []RuleText{
		rule(dns("saddr", "sport")...),
		rule(v4.in("saddr", false, host(ResolverAddr)), unreachable, drop),
	}}
	return t
}
