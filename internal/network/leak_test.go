package network

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// -cycles 100 is a thousand networks: a minute.
var cycles = flag.Int("cycles", 5, "how many times ten networks come and go in TestCyclesLeaveNothing")

// Networks that come with a service, a published port and a container, and go again, leave nothing: in the kernel, on
// disk, and of what a process can run out of.
func TestCyclesLeaveNothing(t *testing.T) {
	const each = 10
	r := newRig(t)
	n := r.node("a", 11)
	s := newStory(n)
	s.set(t)
	round := func(k int) {
		s.state.Networks, s.state.Ports = nil, nil
		s.network(cluster.NetworkLink{ID: "ingress", VNI: 4096, Ingress: true, Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}})
		for i := range each {
			net := fmt.Sprintf("net%d-%d", k, i)
			inside := func(last int) string { return fmt.Sprintf("10.1.%d.%d", i, last) }
			l := s.network(cluster.NetworkLink{ID: net, VNI: uint32(5000 + k*each + i), Subnets: []netip.Prefix{netip.MustParsePrefix(inside(0) + "/24")}})
			l.Services = []cluster.VIP{{ServiceID: net, Name: net, Addresses: []netip.Addr{addr(inside(2))}}}
			l.Endpoints = []cluster.Endpoint{{TaskID: net, NodeID: "node0", ServiceID: net, Name: net, Live: true, Addresses: []netip.Addr{addr(inside(3))}}}
			s.state.Ports = append(s.state.Ports, cluster.Port{ServiceID: net, Backends: []netip.Addr{addr("10.0.0.3")}, Config: swarm.PortConfig{
				Protocol: "tcp", TargetPort: 80, PublishedPort: uint32(20000 + i),
			}})
		}
		s.set(t)
		for i := range each {
			n.attach(Request{ContainerID: id(fmt.Sprintf("c%dx%d", k, i)), Overlays: []cluster.Attachment{at(fmt.Sprintf("net%d-%d", k, i), fmt.Sprintf("10.1.%d.3/24", i))}})
		}
		for i := range each {
			if err := n.Detach(t.Context(), id(fmt.Sprintf("c%dx%d", k, i))); err != nil {
				t.Fatal(err)
			}
		}
		s.state.Networks, s.state.Ports = nil, nil
		s.set(t)
	}
	round(0) // what is made once is made
	before, files, open, routines := r.dump(n.ns), filesOf(t, n), descriptors(t), runtime.NumGoroutine()
	for k := 1; k < *cycles; k++ {
		round(k)
	}
	if after := r.dump(n.ns); after != before {
		t.Errorf("the kernel before:\n%s\nafter:\n%s", before, after)
	}
	if after := filesOf(t, n); after != files {
		t.Errorf("on disk before:\n%s\nafter:\n%s", files, after)
	}
	if now := descriptors(t); now > open+2 {
		t.Errorf("%d open files, not %d", now, open)
	}
	if now := runtime.NumGoroutine(); now > routines+5 {
		t.Errorf("%d goroutines, not %d", now, routines)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if sizes := []int{len(n.have), len(n.placed), len(n.names), len(n.links), len(n.members), len(n.boxes), len(n.ready), len(n.yielded), len(n.seen)}; !slices.Equal(sizes, []int{1, 0, 0, 0, 0, 0, 0, 0, 0}) {
		t.Errorf("remembered: %v", sizes)
	}
}

// filesOf are the names of all that a node keeps on disk.
func filesOf(t *testing.T, n *node) string {
	var names []string
	for _, dir := range []string{n.config.StateDir, n.config.RunDir} {
		err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
			names = append(names, path)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return strings.Join(names, "\n")
}

func descriptors(t *testing.T) int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
