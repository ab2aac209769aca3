package plan

import (
	"net/netip"

	"github.com/google/nftables/expr"
)

// Interface is one of a container's links, in its own namespace.
type Interface struct {
	Net  *Net
	Name string // eth0 …
	Addr []netip.Prefix
	// Default says that the container's default route leaves here.
	Default bool
}

// MACOf is the address of a container's interface in a network.
func MACOf(container, networkID string) MAC {
	_, mac := named("", "container", container, networkID)
	return mac
}

// VethOf is the name of N's end of a container's link in a network.
func VethOf(container, networkID string) string {
	name, _ := named("v", container, networkID)
	return name
}

// Container is the namespace of one container. With names, its queries to 127.0.0.11 go to the resolver of the network
// that its default route leaves by, which knows it by its address there.
func Container(id string, interfaces []Interface, names bool) *Namespace {
	ns := NewNamespace()
	ns.Links["lo"] = Link{Kind: Loopback}
	for _, i := range interfaces {
		ns.Links[i.Name] = Link{Kind: Peer, MAC: MACOf(id, i.Net.ID), MTU: i.Net.MTU}
		hasV6 := false
		for _, p := range i.Addr {
			f := familyOf(p.Addr())
			hasV6 = hasV6 || f.v6
			ns.Addrs[Addr{Link: i.Name, Prefix: p, NoRoute: true}] = struct{}{}
			if i.Default && (i.Net.hasUplink() || !f.v6) {
				ns.Routes[Dst{Prefix: host(f.gateway)}] = Route{Link: i.Name}
			}
			if i.Default && i.Net.hasUplink() {
				ns.Routes[Dst{Prefix: anywhere(f)}] = Route{Link: i.Name, Via: f.gateway, Src: p.Addr()}
			} else {
				ns.Routes[Dst{Prefix: p.Masked()}] = Route{Link: i.Name, Via: f.gateway, Src: p.Addr()}
			}
		}
		if !hasV6 {
			ns.Sysctls["net/ipv6/conf/"+i.Name+"/disable_ipv6"] = "1"
		}
		if i.Default && names {
			ns.Sysctls["net/ipv4/conf/"+i.Name+"/route_localnet"] = "1"
			ns.Tables[TableID{"ip", "shoal_dns"}] = queries(i.Name)
		}
	}
	return ns
}

// Nameserver is where a container asks.
const Nameserver = "127.0.0.11"

// queries redirects what is asked of 127.0.0.11. A loopback source may leave for that (route_localnet), which must not
// open the container's own loopback to its neighbours.
func queries(out string) *Table {
	t := NewTable()
	to := ResolverAddr.As4()
	ask := func(proto byte) RuleText {
		return rule(v4.in("daddr", false, host(netip.MustParseAddr(Nameserver))), l4(proto), port("dport", 53), statement{
			"dnat to " + ResolverAddr.String(), []expr.Any{
				&expr.Immediate{Register: reg1, Data: to[:]},
				&expr.NAT{Type: expr.NATTypeDestNAT, Family: v4.nfproto, RegAddrMin: reg1},
			},
		})
	}
	t.Chains["out"] = &Chain{Type: "nat", Hook: "output", Priority: -100, Rules: []RuleText{ask(17), ask(6)}}
	t.Chains["post"] = &Chain{Type: "nat", Hook: "postrouting", Priority: 100, Rules: []RuleText{
		rule(v4.in("saddr", false, v4.loopback), oif(out), masquerade),
	}}
	t.Chains["raw"] = &Chain{Type: "filter", Hook: "prerouting", Priority: -300, Rules: []RuleText{
		rule(notIif("lo"), v4.in("daddr", false, v4.loopback), drop),
	}}
	return t
}
