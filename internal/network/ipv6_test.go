package network

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

func TestANodeWithoutIPv6HoldsTheIPv4Part(t *testing.T) {
	both := []netip.Addr{netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("fd00::5")}
	state := cluster.NetworkState{Networks: []cluster.NetworkLink{{
		Subnets:   []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("fd00::/64")},
		Gateways:  both,
		Endpoints: []cluster.Endpoint{{Addresses: both}}, Services: []cluster.VIP{{Addresses: both}},
	}}}
	want := cluster.NetworkState{Networks: []cluster.NetworkLink{{
		Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}, Gateways: both[:1],
		Endpoints: []cluster.Endpoint{{Addresses: both[:1]}}, Services: []cluster.VIP{{Addresses: both[:1]}},
	}}}
	if d := cmp.Diff(want, onlyIPv4(state), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); d != "" {
		t.Error(d)
	}
	if len(state.Networks[0].Subnets) != 2 || len(state.Networks[0].Endpoints[0].Addresses) != 2 {
		t.Error("the state itself was changed, and may be shared")
	}
}

// A node with IPv6 switched off by default has our links with it all the same, and one that takes its routes from router
// advertisements goes on doing so as a router.
func TestIPv6OfTheNode(t *testing.T) {
	r := newRig(t)
	n := r.node("a", 11)
	r.sh("ip netns exec %s sysctl -qw net.ipv6.conf.default.disable_ipv6=1 net.ipv6.conf.eth0.accept_ra=1", n.ns)
	s := newStory(n)
	s.network(cluster.NetworkLink{
		ID: "ingress", VNI: 4096, Ingress: true, Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("fd09::/64")},
		Gateways: []netip.Addr{addr("10.0.0.1"), addr("fd09::1")},
	})
	s.set(t)
	s.task(0, "w1", "web", cluster.Attachment{NetworkID: "ingress", Addresses: []netip.Prefix{
		netip.MustParsePrefix("10.0.0.5/24"), netip.MustParsePrefix("fd09::5/64"),
	}})
	s.state.Ports = []cluster.Port{{ServiceID: "web", Config: swarm.PortConfig{Protocol: "tcp", TargetPort: 80, PublishedPort: 8080}, Backends: []netip.Addr{addr("10.0.0.5"), addr("fd09::5")}}}
	s.set(t)
	n.exact()
	spread(t, "from outside", r.from(r.outside, 4, "tcp", "[fd98::11]:8080"), "w1 fd98::9")
	spread(t, "from the node", r.from(n.onHost, 4, "tcp", "[fd98::11]:8080"), "w1 fd98::11")
	if got := r.sh("ip netns exec %s sysctl -n net.ipv6.conf.eth0.accept_ra net.ipv6.conf.all.forwarding", n.ns); got != "2\n1\n" {
		t.Errorf("accept_ra and forwarding: %q", got)
	}
}

// What the host masquerades as must find its way back from other nodes too, when a task calls its own node's published
// port.
func TestIPv6OfTheNodesOwnCalls(t *testing.T) {
	r := newRig(t)
	a, b := r.node("a", 11), r.node("b", 12)
	s := newStory(a, b)
	s.network(cluster.NetworkLink{
		ID: "ingress", VNI: 4096, Ingress: true, Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("fd09::/64")},
		Gateways: []netip.Addr{addr("10.0.0.1"), addr("fd09::1")},
	})
	s.set(t)
	for i, name := range []string{"w1", "w2"} {
		s.task(i, name, "web", cluster.Attachment{NetworkID: "ingress", Addresses: []netip.Prefix{
			netip.PrefixFrom(addr(fmt.Sprintf("10.0.0.%d", 5+i)), 24), netip.PrefixFrom(addr(fmt.Sprintf("fd09::%d", 5+i)), 64),
		}})
	}
	s.state.Ports = []cluster.Port{{ServiceID: "web", Config: swarm.PortConfig{Protocol: "tcp", TargetPort: 80, PublishedPort: 8080}, Backends: []netip.Addr{addr("fd09::5"), addr("fd09::6")}}}
	s.set(t)
	source := "fd53:686f:616d::1"
	spread(t, "loopback is left alone", r.from(a.onHost, 2, "tcp", "[::1]:8080"), "dial tcp [::1]:8080: connect: connection refused")
	spread(t, "a task's own node", r.from(a.inside(id("w1")), 20, "tcp", "[fd98::11]:8080"), "w1 "+source, "w2 "+source)
	spread(t, "another node", r.from(a.inside(id("w1")), 20, "tcp", "[fd98::12]:8080"), "w1 fd98::11", "w2 fd98::11")
	a.exact()
}
