package network

import (
	"bufio"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/network/plan"
)

// Clients of the mesh, on other machines and on the node itself, which wait for an answer of a task whose node died, are told
// by the node that they came through, and others are left alone.
func TestDeadNodeEndsConnectionsThroughTheMesh(t *testing.T) {
	r := newRig(t)
	a, b := r.node("a", 11), r.node("b", 12)
	s := newStory(a, b)
	s.network(cluster.NetworkLink{
		ID: "ingress", VNI: 4096, Ingress: true, Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("fd09::/64")},
		Gateways: []netip.Addr{addr("10.0.0.1"), addr("fd09::1")},
	})
	s.set(t)
	port := func(published uint32, backends ...netip.Addr) cluster.Port {
		return cluster.Port{ServiceID: "web", Config: swarm.PortConfig{TargetPort: 80, PublishedPort: published}, Backends: backends}
	}
	s.task(0, "w1", "web", cluster.Attachment{NetworkID: "ingress", Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.5/24"), netip.MustParsePrefix("fd09::5/64")}})
	s.task(1, "w2", "web", cluster.Attachment{NetworkID: "ingress", Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.6/24"), netip.MustParsePrefix("fd09::6/64")}})
	alive := port(8081, addr("10.0.0.5"), addr("fd09::5"))
	s.state.Ports = []cluster.Port{port(8080, addr("10.0.0.6"), addr("fd09::6")), alive}
	s.set(t)

	type client struct {
		what  string
		in    func(func() error) error
		to    string
		dead  bool
		conn  net.Conn
		lines *bufio.Reader
	}
	clients := []*client{
		{what: "outside", in: r.outside, to: "10.98.0.11:8080", dead: true},
		{what: "outside, IPv6", in: r.outside, to: "[fd98::11]:8080", dead: true},
		{what: "on the node", in: a.onHost, to: "127.0.0.1:8080", dead: true},
		{what: "outside, to another", in: r.outside, to: "10.98.0.11:8081"},
	}
	for _, c := range clients {
		if err := c.in(func() (err error) { c.conn, err = net.DialTimeout("tcp", c.to, 2*time.Second); return err }); err != nil {
			t.Fatal(c.what, err)
		}
		defer c.conn.Close()
		c.lines = bufio.NewReader(c.conn)
		if line, err := c.lines.ReadString('\n'); err != nil {
			t.Fatalf("%s: %q %v", c.what, line, err)
		}
	}
	r.sh("ip -n %s link set eth0 down", b.ns)
	l := s.link("ingress")
	l.Endpoints = l.Endpoints[:1]
	s.state.Ports = []cluster.Port{port(8080), alive}
	if err := a.Set(t.Context(), s.state); err != nil {
		t.Fatal(err)
	}
	for _, c := range clients {
		wait := time.Second
		if !c.dead {
			wait = 100 * time.Millisecond
		}
		_ = c.conn.SetReadDeadline(time.Now().Add(wait))
		_, err := c.lines.ReadString('\n')
		ended := errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.ECONNABORTED)
		if ended != c.dead {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

// A container that ends while a connection of it has something left to say keeps its network namespace in the kernel, for as
// long as that tries; its link must go all the same.
func TestLinkOfAContainerWithUnsentDataGoes(t *testing.T) {
	r := newRig(t)
	a, b := r.node("a", 11), r.node("b", 12)
	s := newStory(a, b)
	s.network(cluster.NetworkLink{ID: "net", VNI: 4097, Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.9.0/24")}, Gateways: []netip.Addr{addr("10.0.9.1")}})
	s.set(t)
	s.task(0, "c1", "client", at("net", "10.0.9.4/24"))
	s.task(0, "c2", "other", at("net", "10.0.9.5/24"))
	s.task(1, "w1", "web", at("net", "10.0.9.6/24"))
	s.set(t)
	var c net.Conn
	if err := a.in(id("c1"), func() (err error) { c, err = net.DialTimeout("tcp", "10.0.9.6:80", 2*time.Second); return err }); err != nil {
		t.Fatal(err)
	}
	a.kernel.Forget(plan.ContainerNS(id("c1")))
	r.sh("ip -n %s link set eth0 down", b.ns)
	if _, err := c.Write([]byte("unheard")); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := a.Detach(t.Context(), id("c1")); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(10 * time.Second)
	for {
		audit, err := a.Audit(t.Context(), false)
		if err != nil {
			t.Fatal(err)
		}
		if len(audit.Differences) == 0 {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("still there: %v", audit.Differences)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
