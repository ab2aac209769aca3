package plan

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables/expr"
)

// A table starts with some of the chains of1, of2 …, so that a service's first change of size needs elements alone: in a
// table of many services a new chain takes the kernel ten times as long as a change of elements.
const (
	firstCounts, manyCounts = 8, 32
	manyServices            = 100
)

// startCounts are the chains that a table of so many services has in any case.
func startCounts(services int) map[int]bool {
	last := firstCounts
	if services >= manyServices {
		last = manyCounts
	}
	counts := make(map[int]bool, last)
	for i := range last {
		counts[i+1] = true
	}
	return counts
}

// VIPs is the table that turns a service's address into one of its live tasks' addresses: one chain per NUMBER of
// backends, all backends in one map. Services add elements only.
func VIPs(n *Net, f family) *Table {
	t := NewTable()
	vips := &Set{Key: []Type{f.typ}, Data: []Type{Verdict}, Elements: make(map[string]string, len(n.Services))}
	tasks := &Set{Key: []Type{f.typ, Mark}, Data: []Type{f.typ}, Elements: make(map[string]string, len(n.Endpoints))}
	t.Sets["vips"], t.Sets["tasks"] = vips, tasks
	live := backends(n, f)
	counts := startCounts(max(len(n.Services), n.Rest.Services))
	for _, size := range n.Rest.Sizes {
		if size.V6 == f.v6 && size.Count > 0 {
			counts[size.Count] = true
		}
	}
	for _, s := range n.Services {
		list := live[s.ServiceID]
		for _, vip := range s.Addresses {
			if !f.holds(vip) || len(list) == 0 {
				continue
			}
			counts[len(list)] = true
			vips.Elements[join(keyAddr(vip))] = chainOf(len(list))
			for i, a := range list {
				tasks.Elements[join(keyAddr(vip), keyNumber(uint32(i)))] = join(keyAddr(a))
			}
		}
	}
	for count := range counts {
		t.Chains[chainOf(count)] = balance(f.vipRule, count)
	}
	t.Chains["pre"] = &Chain{Type: "nat", Hook: "prerouting", Priority: -100, Rules: []RuleText{rule(statement{
		f.table + " daddr vmap @vips", []expr.Any{f.load(f.dst, reg1), vmap("vips")},
	})}}
	return t
}

// balance is the chain of so many backends. The kernel changes rules at once and looks a map's elements up as they are at
// that moment: a packet that is in the chain while backends go may miss, and takes the first one then.
func balance(of func(count int) RuleText, count int) *Chain {
	if count == 1 {
		return &Chain{Rules: []RuleText{of(1)}}
	}
	return &Chain{Rules: []RuleText{of(count), of(1)}}
}

func (f family) vipRule(count int) RuleText {
	return rule(statement{
		fmt.Sprintf("dnat to %s daddr . numgen random mod %d map @tasks", f.table, count),
		[]expr.Any{
			f.load(f.dst, reg1), random(f.after(), count), lookup("tasks"),
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: f.nfproto, RegAddrMin: reg1},
		},
	})
}

func chainOf(count int) string { return fmt.Sprintf("of%d", count) }

// hairpin lets a task reach itself through its own service: the reply must come back to N, where the address was
// translated.
func hairpin(n *Net, f family) *Table {
	t := NewTable()
	self := &Set{Key: []Type{f.typ, f.typ}, Elements: map[string]string{}}
	t.Sets["self"] = self
	for _, p := range n.Places {
		for _, a := range p.Addrs {
			if f.holds(a.Addr()) {
				self.Elements[join(keyAddr(a.Addr()), keyAddr(a.Addr()))] = ""
			}
		}
	}
	t.Chains["post"] = &Chain{Type: "nat", Hook: "postrouting", Priority: 100, Rules: []RuleText{rule(statement{
		fmt.Sprintf("%s saddr . %s daddr @self", f.table, f.table),
		[]expr.Any{f.load(f.src, reg1), f.load(f.dst, f.after()), inSet("self")},
	}, asGateway(n, f))}}
	return t
}

// asGateway makes the network's gateway the source: a container on several networks sends to it by this network's link,
// where it would send to N's own address, which is the same in all, by its default route.
func asGateway(n *Net, f family) statement {
	for _, g := range n.Gateways {
		if f.holds(g) {
			return statement{"snat to " + g.String(), []expr.Any{
				&expr.Immediate{Register: reg1, Data: g.AsSlice()},
				&expr.NAT{Type: expr.NATTypeSourceNAT, Family: f.nfproto, RegAddrMin: reg1},
			}}
		}
	}
	return masquerade
}

// subnetsOf are the network's prefixes of one family.
func subnetsOf(n *Net, f family) (out []netip.Prefix) {
	for _, p := range n.Subnets {
		if f.holds(p.Addr()) {
			out = append(out, p)
		}
	}
	return out
}
