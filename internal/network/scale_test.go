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
	crowd(l, 10000, 10)
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

// crowd puts services into a network, with tasks on the node "other" each.
func crowd(l *cluster.NetworkLink, services, tasks int) {
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
}

// BenchmarkFirstPacket connects to a service's address on a node with one service and on one with ten thousand of ten tasks
// in turn, and gives the ratio of the medians of new connections per second.
func BenchmarkFirstPacket(b *testing.B) {
	r := newRig(b)
	var paths []path
	for i, services := range []int{0, 10000} {
		n := r.node([]string{"a", "b"}[i], 11+i)
		s := newStory(n)
		s.state.Nodes = append(s.state.Nodes, cluster.NodeLink{ID: "other", Number: 7, Addr: addr("10.98.0.77")})
		l := s.network(cluster.NetworkLink{ID: "net", VNI: 4097, Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
		l.Services = []cluster.VIP{{ServiceID: "web", Name: "web", Addresses: []netip.Addr{addr("10.240.0.1")}}}
		crowd(l, services, 10)
		s.set(b)
		s.task(0, "a1", "client", at("net", "10.250.0.1/8"))
		s.task(0, "b1", "web", at("net", "10.250.0.2/8"))
		s.set(b)
		answer(b, n.inside(id("b1")), ":92")
		paths = append(paths, path{name: fmt.Sprint(services), in: n.inside(id("a1")), call: "10.240.0.1:92"})
	}
	rates := make([][]float64, len(paths))
	for range b.N {
		for i, p := range paths {
			rates[i] = append(rates[i], connect(b, p))
		}
	}
	for i := range rates {
		slices.Sort(rates[i])
	}
	one, many := rates[0][len(rates[0])/2], rates[1][len(rates[1])/2]
	b.ReportMetric(one, "conn/s_of_one")
	b.ReportMetric(many/one, "many/one")
	b.ReportMetric(0, "ns/op")
}
