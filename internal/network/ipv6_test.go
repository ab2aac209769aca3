package network

import (
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
