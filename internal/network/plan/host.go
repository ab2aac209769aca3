package plan

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"shoal/internal/cluster"
)

// Host is what the daemon's own namespace holds: the host's ends of the uplinks, the routing mesh and published ports,
// and masquerading on the way out. It is empty when no network is here.
func Host(in Input) *Namespace {
	ns := NewNamespace()
	all := in.Prefix + "-*"
	has := map[bool]bool{}
	for _, n := range in.Networks {
		if !n.hasUplink() {
			continue
		}
		link := n.uplink(in.Prefix)
		_, mac := named("", "host", in.Prefix, n.key())
		ns.Links[link] = Link{Kind: Peer, MAC: mac, MTU: n.MTU}
		ns.Sysctls["net/ipv4/conf/"+link+"/route_localnet"] = "1" // for 127.0.0.1:PORT; the chain raw keeps it closed
		for _, f := range families {
			for i, p := range subnetsOf(n, f) {
				has[f.v6] = true
				if f.v6 {
					// A node may have IPv6 switched off by default; the uplinks are ours.
					ns.Sysctls["net/ipv6/conf/"+link+"/disable_ipv6"] = "0"
					ns.Addrs[Addr{Link: link, Prefix: host(uplinkSource), NoRoute: true}] = struct{}{}
				}
				if i == 0 {
					ns.Addrs[Addr{Link: link, Prefix: uplinkPrefix(f, uplinkHost[f.v6])}] = struct{}{}
				}
				ns.Routes[Dst{Prefix: p}] = Route{Link: link, Via: uplinkN[f.v6], Src: hostGateway(ns, n, f, link)}
			}
		}
	}
	for _, f := range families {
		if has[f.v6] {
			ns.Tables[TableID{f.table, in.Prefix}] = meshTable(in, f, all)
		}
	}
	if len(ns.Links) > 0 {
		ns.Sysctls["net/ipv4/ip_forward"] = "1"
		filter := NewTable()
		filter.Chains["forward"] = &Chain{Type: "filter", Hook: "forward", Rules: []RuleText{
			rule(oif(all), ctNew, ctNotDNAT, drop), // networks are apart, and closed from outside but for published ports
		}}
		ns.Tables[TableID{"inet", in.Prefix}] = filter
	}
	if has[true] {
		ns.Sysctls["net/ipv6/conf/all/forwarding"] = "1"
	}
	return ns
}

// uplinkSource is what the host masquerades as towards a network in IPv6, in whose N it leads to the uplink like everything
// unknown. Link-local addresses, which the uplink has too, are not forwarded to other nodes. (RFC 4193; outside of the pool
// that networks get theirs from.)
var uplinkSource = netip.MustParseAddr("fd53:686f:616d::1")

// hostGateway makes the gateway of one of the node's own networks the host's address in it, as users of Docker expect.
func hostGateway(ns *Namespace, n *Net, f family, link string) netip.Addr {
	if !n.Local {
		return netip.Addr{}
	}
	for _, g := range n.Gateways {
		if f.holds(g) {
			ns.Addrs[Addr{Link: link, Prefix: host(g), NoRoute: f.v6}] = struct{}{}
			return g
		}
	}
	return netip.Addr{}
}

// meshTable leads published ports to tasks: those of the mesh to any of several, those of one container to it.
func meshTable(in Input, f family, uplinks string) *Table {
	t := NewTable()
	ports := &Set{Key: []Type{Proto, Port}, Data: []Type{Verdict}, Elements: map[string]string{}}
	tasks := &Set{Key: []Type{Proto, Port, Mark}, Data: []Type{f.typ, Port}, Elements: map[string]string{}}
	bound := &Set{Key: []Type{f.typ, Proto, Port}, Data: []Type{f.typ, Port}, Elements: map[string]string{}}
	at := &Set{Key: []Type{f.typ, Proto, Port}, Data: []Type{Verdict}, Elements: map[string]string{}}
	t.Sets["ports"], t.Sets["tasks"], t.Sets["bound"], t.Sets["ports_at"] = ports, tasks, bound, at
	counts := startCounts(len(in.Mesh))
	add := func(proto byte, published uint16, targets []netip.Addr, port uint16, bind cluster.Bind) {
		count := 0
		for _, a := range targets {
			if f.holds(a) {
				tasks.Elements[join(keyProto(proto), keyPort(published), keyNumber(uint32(count)))] = join(keyAddr(a), keyPort(port))
				count++
			}
		}
		if count == 0 {
			return
		}
		counts[count] = true
		if !bind.Limits() {
			ports.Elements[join(keyProto(proto), keyPort(published))] = chainOf(count)
		}
		for _, a := range in.Addresses {
			if f.holds(a) && bind.Has(a, in.Links[a]) {
				at.Elements[join(keyAddr(a), keyProto(proto), keyPort(published))] = chainOf(count)
			}
		}
	}
	for _, p := range in.Mesh {
		add(ProtoNumber(string(p.Config.Protocol)), uint16(p.Config.PublishedPort), p.Backends, uint16(p.Config.TargetPort), p.Bind)
	}
	for _, p := range in.HostPorts {
		if !p.Bind.IsValid() {
			add(ProtoNumber(p.Proto), p.Published, p.Target, p.Port, cluster.Bind{})
			continue
		}
		for _, a := range p.Target {
			if f.holds(a) && f.holds(p.Bind) {
				bound.Elements[join(keyAddr(p.Bind), keyProto(ProtoNumber(p.Proto)), keyPort(p.Published))] = join(keyAddr(a), keyPort(p.Port))
			}
		}
	}
	for count := range counts {
		t.Chains[chainOf(count)] = balance(f.meshRule, count)
	}
	translate := []RuleText{
		rule(toLocal, f.boundRule()),
		rule(toLocal, statement{f.table + " daddr . meta l4proto . th dport vmap @ports_at", []expr.Any{
			f.load(f.dst, reg1), loadL4(f.after()), loadPort(f.after() + 1), vmap("ports_at"),
		}}),
		rule(toLocal, statement{"meta l4proto . th dport vmap @ports", []expr.Any{loadL4(reg1), loadPort(reg32 + 1), vmap("ports")}}),
	}
	t.Chains["pre"] = &Chain{Type: "nat", Hook: "prerouting", Priority: -100, Rules: translate}
	own := translate
	if f.v6 {
		// IPv6 knows no way from ::1 to another link and back. Left alone, a call to [::1] is refused at once, and the
		// program that made it goes on to 127.0.0.1.
		own = append([]RuleText{rule(f.in("daddr", false, f.loopback), accept)}, own...)
	}
	t.Chains["out"] = &Chain{Type: "nat", Hook: "output", Priority: -100, Rules: own} // the node's own calls
	t.Chains["post"] = &Chain{Type: "nat", Hook: "postrouting", Priority: 100, Rules: []RuleText{
		rule(oif(uplinks), f.in("saddr", false, f.loopback), masquerade),
		rule(iif(uplinks), oif(uplinks), ctDNAT, masquerade), // a task that calls its own node's published port
		rule(iif(uplinks), notOif(uplinks), masquerade),      // the way out
	}}
	t.Chains["raw"] = &Chain{Type: "filter", Hook: "prerouting", Priority: -300, Rules: []RuleText{
		rule(iif(uplinks), f.in("daddr", false, f.loopback), drop),
	}}
	return t
}

func (f family) translate() expr.Any {
	return &expr.NAT{Type: expr.NATTypeDestNAT, Family: f.nfproto, RegAddrMin: reg1, RegProtoMin: f.after(), Specified: true}
}

func (f family) meshRule(count int) RuleText {
	return rule(statement{
		fmt.Sprintf("dnat %s to meta l4proto . th dport . numgen random mod %d map @tasks", f.table, count),
		[]expr.Any{loadL4(reg1), loadPort(reg32 + 1), random(reg32+2, count), lookup("tasks"), f.translate()},
	})
}

func (f family) boundRule() statement {
	return statement{
		fmt.Sprintf("dnat %s to %s daddr . meta l4proto . th dport map @bound", f.table, f.table),
		[]expr.Any{f.load(f.dst, reg1), loadL4(f.after()), loadPort(f.after() + 1), lookup("bound"), f.translate()},
	}
}

// ProtoNumber is the IP protocol of a name; empty is TCP.
func ProtoNumber(name string) byte {
	switch name {
	case "udp":
		return unix.IPPROTO_UDP
	case "sctp":
		return unix.IPPROTO_SCTP
	}
	return unix.IPPROTO_TCP
}
