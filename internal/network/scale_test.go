package network

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"shoal/internal/cluster"
)

// Fifty tasks that start at once must not wait long for their networks.
func TestAttachManyAtOnce(t *testing.T) {
	r := newRig(t)
	n := r.node("a", 11)
	s := newStory(n)
	s.network(cluster.NetworkLink{ID: "ingress", VNI: 4096, Ingress: true, Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}})
	s.set(t)
	const count = 50
	for _, kind := range []string{"bridge", "ingress"} {
		start := time.Now()
		var all sync.WaitGroup
		for i := range count {
			r := Request{ContainerID: id(fmt.Sprintf("%s%02d", kind[:1], i)), Local: []LocalAttachment{{Network: "bridge"}}}
			if kind == "ingress" {
				r.Local, r.Overlays = nil, []cluster.Attachment{at("ingress", fmt.Sprintf("10.0.0.%d/24", i+2))}
			}
			all.Go(func() {
				if _, err := n.Attach(t.Context(), r); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		each := time.Since(start) / count
		t.Logf("%s: %v a container", kind, each)
		if each > 60*time.Millisecond {
			t.Errorf("%s: %v a container", kind, each)
		}
	}
	n.exact()
	start := time.Now()
	n.restart()
	t.Logf("restart with %d containers: %v", 2*count, time.Since(start))
	start = time.Now()
	n.Retain(nil)
	t.Logf("detach: %v a container", time.Since(start)/(2*count))
}

// Ten thousand services of ten tasks: a change of one touches its elements alone.
func TestTenThousandServices(t *testing.T) {
	r := newRig(t)
	n := r.node("a", 11)
	s := newStory(n)
	s.state.Nodes = append(s.state.Nodes, cluster.NodeLink{ID: "other", Number: 7, Addr: addr("10.98.0.77")})
	l := s.network(cluster.NetworkLink{ID: "net", VNI: 4097, Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	const services, tasks = 10000, 10
	for i := range services {
		name := fmt.Sprintf("s%d", i)
		l.Services = append(l.Services, cluster.VIP{ServiceID: name, Name: name, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 200, byte(i >> 8), byte(i)})}})
		for j := range tasks {
			k := i*tasks + j
			l.Endpoints = append(l.Endpoints, cluster.Endpoint{
				TaskID: fmt.Sprintf("t%d", k), NodeID: "other", Name: fmt.Sprintf("%s.%d", name, j), ServiceID: name, Live: true,
				Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, byte(k >> 16), byte(k >> 8), byte(k)})},
			})
		}
	}
	ctx := context.WithoutCancel(t.Context())
	if err := n.Set(ctx, s.state); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	n.attach(Request{ContainerID: id("a1"), Overlays: []cluster.Attachment{at("net", "10.250.0.1/8")}})
	t.Logf("all programmed: %v", time.Since(start))
	change := func(i int, live bool) time.Duration {
		e := l.Endpoints[i]
		e.Live = live
		d := cluster.NetworkDelta{Base: s.state.Index, Index: s.state.Index + 1, Networks: []cluster.LinkDelta{{ID: "net", Endpoints: []cluster.Endpoint{e}}}}
		s.state.Index++
		start := time.Now()
		if err := n.Change(ctx, d); err != nil {
			t.Fatal(err)
		}
		return time.Since(start)
	}
	t.Logf("the first change: %v", change(777, false))
	change(777, true)
	var took []time.Duration
	for i := range 200 {
		took = append(took, change(i*10, false), change(i*10, true))
	}
	slices.Sort(took)
	t.Logf("one change of 400: median %v, p99 %v, longest %v", took[200], took[396], took[399])
	n.exact()
	if took[200] > 20*time.Millisecond {
		t.Error("a change costs as much as the network is large")
	}
	start = time.Now()
	n.restart()
	t.Logf("restart: %v", time.Since(start))
	n.exact()
}
