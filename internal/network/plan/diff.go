package plan

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Diff is what turns have into want, in an order that works: namespaces, then what lies in them from links to routes,
// then each namespace's nftables as one run of operations (one transaction), then what is no longer wanted, and last the
// namespaces that go. Replacing a map's element is a deletion and an addition in the same transaction. Equal states have
// an empty difference.
func Diff(have, want Kernel) []Op {
	var ops []Op
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if have[name] == nil && name != HostNS {
			ops = append(ops, Op{NS: name, Item: Pin{}})
		}
	}
	have = settled(have, want)
	empty := NewNamespace()
	pairs := func(do func(d *differ, have, want *Namespace)) {
		for _, name := range slices.Sorted(maps.Keys(want)) {
			h := have[name]
			if h == nil {
				h = empty
			}
			d := &differ{ns: name}
			do(d, h, want[name])
			ops = append(ops, d.ops...)
		}
	}
	pairs(func(d *differ, h, w *Namespace) { d.sysctls(h, w, false) })
	pairs(func(d *differ, h, w *Namespace) { d.links(h, w, false) })
	pairs(func(d *differ, h, w *Namespace) { d.links(h, w, true) })
	pairs(func(d *differ, h, w *Namespace) { d.sysctls(h, w, true) })
	pairs((*differ).addresses)
	pairs((*differ).tunnels)
	pairs((*differ).routes)
	pairs((*differ).tables)
	pairs((*differ).leftovers)
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if want[name] != nil || name == HostNS {
			continue
		}
		// The kernel takes a namespace down at its leisure; names and VNIs must be free at once.
		for _, link := range slices.Sorted(maps.Keys(have[name].Links)) {
			if l := have[name].Links[link]; l.Kind == VXLAN || l.Kind == WireGuard || link == upLink {
				ops = append(ops, Op{NS: name, Delete: true, Item: LinkItem{link, l}})
			}
		}
		ops = append(ops, Op{NS: name, Delete: true, Item: Pin{}})
	}
	return ops
}

// settled is have without what is on links that must be made anew, since it goes with them.
func settled(have, want Kernel) Kernel {
	out := maps.Clone(have)
	for name, w := range want {
		h := have[name]
		if h == nil {
			continue
		}
		for link, l := range w.Links {
			if old, ok := h.Links[link]; ok && l.Kind == VXLAN && old.readable() != l {
				out[name] = h.without(link)
				h = out[name]
			}
		}
	}
	return out
}

// without is a copy that lacks what is on a link.
func (ns *Namespace) without(link string) *Namespace {
	c := *ns
	c.Addrs, c.Routes, c.Neighs, c.FDB, c.Tables = maps.Clone(ns.Addrs), maps.Clone(ns.Routes), maps.Clone(ns.Neighs), maps.Clone(ns.FDB), maps.Clone(ns.Tables)
	maps.DeleteFunc(c.Addrs, func(a Addr, _ struct{}) bool { return a.Link == link })
	maps.DeleteFunc(c.Routes, func(_ Dst, r Route) bool { return r.Link == link })
	maps.DeleteFunc(c.Neighs, func(n Neigh, _ MAC) bool { return n.Link == link })
	maps.DeleteFunc(c.FDB, func(b Bridge, _ netip.Addr) bool { return b.Link == link })
	for id, t := range c.Tables {
		kept := &Table{Sets: t.Sets, Chains: maps.Clone(t.Chains)}
		maps.DeleteFunc(kept.Chains, func(_ string, chain *Chain) bool { return chain.Device == link })
		c.Tables[id] = kept
	}
	return &c
}

type differ struct {
	ns  NS
	ops []Op
}

func (d *differ) add(item fmt.Stringer) { d.ops = append(d.ops, Op{NS: d.ns, Item: item}) }
func (d *differ) del(item fmt.Stringer) {
	d.ops = append(d.ops, Op{NS: d.ns, Delete: true, Item: item})
}

// sysctls go before the links that take over their defaults, those of one link after it.
func (d *differ) sysctls(have, want *Namespace, perLink bool) {
	for _, path := range slices.Sorted(maps.Keys(want.Sysctls)) {
		if ofLink(path) == perLink && have.Sysctls[path] != want.Sysctls[path] {
			d.add(Sysctl{path, want.Sysctls[path]})
		}
	}
}

func ofLink(path string) bool {
	return strings.Contains(path, "/conf/") && !strings.Contains(path, "/conf/all/") && !strings.Contains(path, "/conf/default/")
}

// readable is a link without what the kernel does not tell.
func (l Link) readable() Link {
	l.PeerNS, l.PeerName = "", ""
	if l.Kind == Peer {
		l.Kind = Veth
	}
	if l.Kind == Loopback {
		l = Link{Kind: Loopback}
	}
	return l
}

// links: a VXLAN device that changed is made anew, others are set right in place.
// Peers come after the veths that make them.
func (d *differ) links(have, want *Namespace, peers bool) {
	for _, name := range slices.Sorted(maps.Keys(want.Links)) {
		h, ok := have.Links[name]
		w := want.Links[name]
		if (w.Kind == Peer) != peers || ok && h.readable() == w.readable() {
			continue
		}
		if ok && w.Kind == VXLAN {
			d.del(LinkItem{name, h})
		}
		d.add(LinkItem{name, w})
	}
}

// missing are the keys of want whose values have lacks, in order. Only what differs is sorted: a network can have a
// hundred thousand routes.
func missing[K, V comparable](have, want map[K]V, compare func(a, b K) int) (out []K) {
	for k, v := range want {
		if h, ok := have[k]; !ok || h != v {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, compare)
	return out
}

// surplus are the keys of have that want lacks, in order.
func surplus[K, V comparable](have, want map[K]V, compare func(a, b K) int) (out []K) {
	for k := range have {
		if _, ok := want[k]; !ok {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, compare)
	return out
}

func (d *differ) addresses(have, want *Namespace) {
	for _, a := range missing(have.Addrs, want.Addrs, compareAddr) {
		d.add(a)
	}
}

func (d *differ) routes(have, want *Namespace) {
	for _, n := range missing(have.Neighs, want.Neighs, compareNeigh) {
		d.add(NeighItem{n, want.Neighs[n]})
	}
	for _, b := range missing(have.FDB, want.FDB, compareBridge) {
		d.add(FDBItem{b, want.FDB[b]})
	}
	// Routes through a gateway come after those to it: longer prefixes first.
	for _, dst := range missing(have.Routes, want.Routes, compareDst) {
		d.add(RouteItem{dst, want.Routes[dst]})
	}
	for _, r := range missing(have.Rules, want.Rules, compareRule) {
		d.add(r)
	}
}

// leftovers are deleted after all is added. A link takes its addresses, routes and neighbours with it.
func (d *differ) leftovers(have, want *Namespace) {
	gone := func(link string) bool {
		_, had := have.Links[link]
		_, wanted := want.Links[link]
		return had && !wanted
	}
	for _, r := range surplus(have.Rules, want.Rules, compareRule) {
		d.del(r)
	}
	for _, dst := range surplus(have.Routes, want.Routes, compareDst) {
		if !gone(have.Routes[dst].Link) {
			d.del(RouteItem{dst, have.Routes[dst]})
		}
	}
	for _, b := range surplus(have.FDB, want.FDB, compareBridge) {
		if !gone(b.Link) {
			d.del(FDBItem{b, have.FDB[b]})
		}
	}
	for _, n := range surplus(have.Neighs, want.Neighs, compareNeigh) {
		if !gone(n.Link) {
			d.del(NeighItem{n, have.Neighs[n]})
		}
	}
	d.closings(have, want, gone)
	for _, a := range surplus(have.Addrs, want.Addrs, compareAddr) {
		if !gone(a.Link) {
			d.del(a)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have.Links)) {
		// A peer goes with the veth at its other end, which may be in a namespace that is gone already.
		if gone(name) && have.Links[name].Kind != Loopback {
			d.del(LinkItem{name, have.Links[name]})
		}
	}
}

func compareAddr(a, b Addr) int {
	return cmp.Or(cmp.Compare(a.Link, b.Link), a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()))
}

func compareNeigh(a, b Neigh) int { return cmp.Or(cmp.Compare(a.Link, b.Link), a.IP.Compare(b.IP)) }

func compareBridge(a, b Bridge) int {
	return cmp.Or(cmp.Compare(a.Link, b.Link), slices.Compare(a.MAC[:], b.MAC[:]))
}

func compareDst(a, b Dst) int {
	return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(b.Prefix.Bits(), a.Prefix.Bits()), a.Prefix.Addr().Compare(b.Prefix.Addr()))
}

func compareRule(a, b Rule) int { return cmp.Compare(a.String(), b.String()) }

func compareTable(a, b TableID) int {
	return cmp.Or(cmp.Compare(a.Family, b.Family), cmp.Compare(a.Name, b.Name))
}
