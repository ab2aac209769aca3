package network

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// TestEncryptedMesh: the routing mesh over an encrypted ingress network, where the VXLAN runs inside the tunnel.
func TestEncryptedMesh(t *testing.T) {
	r := newRig(t)
	a, b := r.node("a", 11), r.node("b", 12)
	s := newStory(a, b)
	s.network(cluster.NetworkLink{
		ID: "ingress", VNI: 4096, Ingress: true, Encrypted: true, Rings: []cluster.Ring{{Generation: 1}}, Sends: 1,
		Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("fd00:0:0:1::/64")}, Gateways: []netip.Addr{addr("10.0.0.1"), addr("fd00:0:0:1::1")},
	})
	s.set(t)
	s.task(0, "w1", "web", dual("ingress", "10.0.0.5/24", "fd00:0:0:1::5/64"))
	s.task(1, "w2", "web", dual("ingress", "10.0.0.6/24", "fd00:0:0:1::6/64"))
	backends := []netip.Addr{addr("10.0.0.5"), addr("10.0.0.6"), addr("fd00:0:0:1::5"), addr("fd00:0:0:1::6")}
	for _, p := range []swarm.PortConfig{{TargetPort: 80, PublishedPort: 8080}, {TargetPort: 80, PublishedPort: 8080, Protocol: "udp"}} {
		s.state.Ports = append(s.state.Ports, cluster.Port{ServiceID: "web", Config: p, Backends: backends})
	}
	s.set(t)
	s.exchange(t)
	calls := func(when string) {
		t.Helper()
		for _, proto := range []string{"tcp", "udp"} {
			for _, entry := range []string{"10.98.0.11", "10.98.0.12"} {
				spread(t, when+", through "+entry+", "+proto, r.from(r.outside, 30, proto, entry+":8080"), "w1 10.98.0.9", "w2 10.98.0.9")
			}
		}
		spread(t, when+", IPv6", r.from(r.outside, 30, "tcp", "[fd98::11]:8080"), "w1 fd98::9", "w2 fd98::9")
	}
	calls("encrypted")
	a.exact()
	b.exact()
	l := s.link("ingress")
	l.Rings = append(slices.Clone(l.Rings), cluster.Ring{Generation: 2})
	s.set(t)
	s.exchange(t)
	<-time.After(3 * time.Second) // handshakes
	l.Sends = 2
	s.set(t)
	l.Rings = l.Rings[1:]
	s.set(t)
	calls("with other keys")
	a.exact()
	a.restart()
	calls("after a restart")
}
