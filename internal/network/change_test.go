package network

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/miekg/dns"

	"shoal/internal/cluster"
)

// Changes lead where whole states lead: to tables without a difference, names, ended places, and a state on disk that the
// next process goes on from.
func TestChange(t *testing.T) {
	r := newRig(t)
	n := r.node("a", 11)
	s := newStory(n)
	s.state.Nodes = append(s.state.Nodes, cluster.NodeLink{ID: "other", Number: 7, Addr: addr("10.98.0.77")})
	s.network(cluster.NetworkLink{ID: "net", Name: "net", VNI: 4097, Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.9.0/24")}})
	s.set(t)
	a := n.attach(Request{ContainerID: id("a1"), Overlays: []cluster.Attachment{at("net", "10.0.9.200/24")}})
	if a.Path == "" {
		t.Fatal("no place")
	}
	state := s.state
	change := func(do func(l *cluster.NetworkLink)) {
		t.Helper()
		next := state
		next.Index++
		next.Networks = slices.Clone(state.Networks)
		l := &next.Networks[0]
		l.Endpoints, l.Services = slices.Clone(l.Endpoints), slices.Clone(l.Services)
		do(l)
		d := cluster.NetworkDelta{Base: state.Index, Index: next.Index}
		if one, any := cluster.DiffLinks(&state.Networks[0], l); any {
			d.Networks = append(d.Networks, one)
		}
		if err := n.Change(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		if err := n.Change(t.Context(), d); err != nil {
			t.Fatalf("the same again: %v", err)
		}
		state = next
		n.exact()
	}
	names := func(want ...string) {
		t.Helper()
		if got, _ := n.resolve(id("a1"), "udp", "tasks.web", dns.TypeA); !slices.Equal(got, want) {
			t.Fatalf("tasks.web is %v, not %v", got, want)
		}
	}
	change(func(l *cluster.NetworkLink) {
		l.Services = append(l.Services, cluster.VIP{ServiceID: "w", Name: "web", Addresses: []netip.Addr{addr("10.0.9.2")}})
	})
	for i := range 12 {
		change(func(l *cluster.NetworkLink) {
			l.Endpoints = append(l.Endpoints, cluster.Endpoint{
				TaskID: fmt.Sprintf("t%02d", i), NodeID: "other", Name: fmt.Sprint("web.", i), ServiceID: "w", Live: i == 3,
				Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 9, byte(10 + i)})},
			})
		})
	}
	names("10.0.9.13")
	change(func(l *cluster.NetworkLink) { l.Endpoints[3].Live, l.Endpoints[4].Live = false, true })
	names("10.0.9.14")
	change(func(l *cluster.NetworkLink) { l.MTU = 1300 })
	change(func(l *cluster.NetworkLink) { l.Endpoints = slices.Delete(l.Endpoints, 0, 3) })
	n.attach(Request{ContainerID: id("a2"), Overlays: []cluster.Attachment{at("net", "10.0.9.201/24")}})
	n.exact()
	if err := n.Change(t.Context(), cluster.NetworkDelta{Base: state.Index - 1, Index: state.Index + 1}); !errors.Is(err, errdefs.ErrFailedPrecondition) {
		t.Fatalf("a change that does not lead on: %v", err)
	}
	n.restart() // which knows the state from disk alone
	n.exact()
	names("10.0.9.14")
	change(func(l *cluster.NetworkLink) { l.Endpoints, l.Services = nil, nil })
}
