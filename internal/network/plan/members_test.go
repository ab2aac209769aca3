package plan

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"shoal/internal/cluster"
)

// members are drawn as lists of IDs: everything else of one follows from its ID and a variant, so that no two share an
// address.
func drawLink(t *rapid.T, label string, base *Net) cluster.NetworkLink {
	l := base.NetworkLink
	for i := range 5 {
		if !rapid.Bool().Draw(t, label+" service") {
			continue
		}
		s := cluster.VIP{ServiceID: fmt.Sprint("s", i), Name: fmt.Sprint("s", i)}
		if rapid.Bool().Draw(t, label+" vip") {
			s.Addresses = append(s.Addresses, netip.AddrFrom4([4]byte{10, 0, 9, byte(100 + i)}))
		}
		if base.has(v6) {
			s.Addresses = append(s.Addresses, netip.AddrFrom16([16]byte{0: 0xfd, 1: 9, 15: byte(100 + i)}))
		}
		l.Services = append(l.Services, s)
	}
	if rapid.Bool().Draw(t, label+" many") {
		for i := range manyServices {
			l.Services = append(l.Services, cluster.VIP{ServiceID: fmt.Sprintf("x%03d", i)})
		}
	}
	// More than manyCounts of one service, so that chains come and go.
	crowd := rapid.SampledFrom([]int{0, 3, manyCounts + 2}).Draw(t, label+" crowd")
	for i := range 60 {
		if i >= crowd && (i < manyCounts+4 || !rapid.Bool().Draw(t, label+" endpoint")) {
			continue
		}
		e := cluster.Endpoint{TaskID: fmt.Sprintf("t%02d", i), ServiceID: "s0", Live: true}
		e.NodeID = fmt.Sprint("n", rapid.IntRange(1, 4).Draw(t, label+" node"))
		if i >= manyCounts {
			e.ServiceID = rapid.SampledFrom([]string{"", "s0", "s1", "s2", "gone"}).Draw(t, label+" of")
			e.Live = rapid.Bool().Draw(t, label+" live")
		}
		e.Addresses = append(e.Addresses, netip.AddrFrom4([4]byte{10, 0, 9, byte(10 + i)}))
		if base.has(v6) {
			e.Addresses = append(e.Addresses, netip.AddrFrom16([16]byte{0: 0xfd, 1: 9, 15: byte(10 + i)}))
		}
		l.Endpoints = append(l.Endpoints, e)
	}
	return l
}

// What a change of members is planned to be from what it concerns is what comes out when both whole plans are compared.
func TestChangeOfMembersIsThatOfTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := world{Nodes: 3, Ingress: rapid.Bool().Draw(t, "ingress"), V6: rapid.Bool().Draw(t, "v6"), Tasks: rapid.IntRange(0, 2).Draw(t, "places")}
		in := w.input()
		base := in.Networks[0]
		base.Endpoints, base.Services = nil, nil
		if rapid.Bool().Draw(t, "encrypted") {
			base.Encrypted, base.Sends = true, 1
			base.Rings = []cluster.Ring{{Generation: 1, Keys: []cluster.NodeKey{{NodeID: "n2", Public: "k2", Port: 7}, {NodeID: "n3", Public: "k3", Port: 8}}}}
		}
		link := drawLink(t, "first", base)
		m := NewMembers(&link)
		plan := func(l *cluster.NetworkLink) *Namespace {
			return Overlay(in, Part{Endpoints: l.Endpoints, Services: l.Services}.Of(base))
		}
		have := plan(&link)
		for range 3 {
			next := drawLink(t, "next", base)
			d, _ := cluster.DiffLinks(&link, &next)
			before, after := m.Change(d)
			old, now := Overlay(in, before.Of(base)), Overlay(in, after.Of(base))
			want := plan(&next)
			if diff := cmp.Diff(lines(Diff(Kernel{base.NS(): plan(&link)}, Kernel{base.NS(): want})), lines(Diff(Kernel{base.NS(): old}, Kernel{base.NS(): now}))); diff != "" {
				t.Fatalf("operations (-whole +part):\n%s", diff)
			}
			Patch(have, old, now)
			if diff := cmp.Diff(lines(Diff(Kernel{}, Kernel{base.NS(): want})), lines(Diff(Kernel{}, Kernel{base.NS(): have}))); diff != "" {
				t.Fatalf("namespace (-whole +patched):\n%s", diff)
			}
			var listed cluster.NetworkLink
			m.Into(&listed)
			if diff := cmp.Diff(fmt.Sprint(next.Endpoints, next.Services), fmt.Sprint(listed.Endpoints, listed.Services)); diff != "" {
				t.Fatalf("members:\n%s", diff)
			}
			link = next
		}
	})
}

// The part that stands for nobody has what all members together need of a network.
func TestRestIsOfTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := world{Nodes: 3, V6: rapid.Bool().Draw(t, "v6"), Ingress: rapid.Bool().Draw(t, "ingress")}.input()
		base := in.Networks[0]
		link := drawLink(t, "link", base)
		whole := Overlay(in, Part{Endpoints: link.Endpoints, Services: link.Services}.Of(base))
		rest := Overlay(in, Part{Rest: NewMembers(&link).Rest()}.Of(base))
		base.Places = nil
		Patch(whole, rest, Overlay(in, Part{Rest: NewMembers(&link).Rest()}.Of(base)))
		want := Overlay(in, Part{Endpoints: link.Endpoints, Services: link.Services}.Of(base))
		if diff := cmp.Diff(lines(Diff(Kernel{}, Kernel{base.NS(): want})), lines(Diff(Kernel{}, Kernel{base.NS(): whole}))); diff != "" {
			t.Fatalf("places taken away (-whole +patched):\n%s", diff)
		}
	})
}

func BenchmarkOneChangeOf100kEndpoints(b *testing.B) {
	in := world{Nodes: 3}.input()
	base := in.Networks[0]
	link := cluster.NetworkLink{ID: "net", VNI: 4097, Subnets: base.Subnets}
	for i := range 100000 {
		link.Endpoints = append(link.Endpoints, cluster.Endpoint{
			TaskID: fmt.Sprintf("t%06d", i), NodeID: "n2", ServiceID: fmt.Sprint("s", i/10), Live: true,
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})},
		})
	}
	for i := range 10000 {
		link.Services = append(link.Services, cluster.VIP{ServiceID: fmt.Sprint("s", i), Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 200, byte(i >> 8), byte(i)})}})
	}
	m := NewMembers(&link)
	have := Overlay(in, Part{Endpoints: link.Endpoints, Services: link.Services}.Of(base))
	e := link.Endpoints[777]
	for b.Loop() {
		e.Live = !e.Live
		before, after := m.Change(cluster.LinkDelta{ID: "net", Endpoints: []cluster.Endpoint{e}})
		old, now := Overlay(in, before.Of(base)), Overlay(in, after.Of(base))
		if ops := Diff(Kernel{base.NS(): old}, Kernel{base.NS(): now}); len(ops) == 0 {
			b.Fatal("nothing to do")
		}
		Patch(have, old, now)
	}
}
