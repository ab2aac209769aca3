package network

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"github.com/moby/moby/api/types/swarm"
	"golang.org/x/sys/unix"

	"shoal/internal/cluster"
)

// story is a cluster's network state in the making.
type story struct {
	state cluster.NetworkState
	nodes []*node
}

func (s *story) network(l cluster.NetworkLink) *cluster.NetworkLink {
	l.Name = l.ID
	s.state.Networks = append(s.state.Networks, l)
	return s.link(l.ID)
}

func (s *story) link(id string) *cluster.NetworkLink {
	i := slices.IndexFunc(s.state.Networks, func(l cluster.NetworkLink) bool { return l.ID == id })
	return &s.state.Networks[i]
}

func newStory(nodes ...*node) *story {
	s := &story{nodes: nodes, state: cluster.NetworkState{Index: 1}}
	for i, n := range nodes {
		s.state.Nodes = append(s.state.Nodes, cluster.NodeLink{ID: fmt.Sprintf("node%d", i), Number: uint16(300 + i), Addr: n.addr})
	}
	return s
}

// task attaches a container and adds its endpoints, not yet live.
func (s *story) task(at int, short, service string, places ...cluster.Attachment) *Sandbox {
	for _, p := range places {
		e := cluster.Endpoint{TaskID: short, NodeID: s.state.Nodes[at].ID, Name: service + ".1." + short, Hostname: id(short)[:12], ServiceID: service, Live: true}
		for _, a := range p.Addresses {
			e.Addresses = append(e.Addresses, a.Addr())
		}
		l := s.link(p.NetworkID)
		l.Endpoints = append(l.Endpoints, e)
	}
	box := s.nodes[at].attach(Request{ContainerID: id(short), Name: service + ".1." + short, TaskID: short, Overlays: places})
	s.nodes[at].serve(id(short), 80)
	return box
}

func (s *story) set(t testing.TB) {
	t.Helper()
	s.state.Index++
	for _, n := range s.nodes {
		state := s.state
		state.Networks = slices.Clone(state.Networks)
		for i := range state.Networks {
			state.Networks[i].Endpoints = slices.Clone(state.Networks[i].Endpoints)
		}
		if err := n.Set(t.Context(), state); err != nil {
			t.Fatal(err)
		}
	}
}

func at(network, prefix string) cluster.Attachment {
	return cluster.Attachment{NetworkID: network, Addresses: []netip.Prefix{netip.MustParsePrefix(prefix)}}
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// spread checks that every wanted answer came, and no other.
func spread(t *testing.T, what string, got map[string]int, want ...string) {
	t.Helper()
	var have []string
	for k := range got {
		have = append(have, k)
	}
	slices.Sort(have)
	slices.Sort(want)
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("%s: %s", what, diff)
	}
}

func both(t *testing.T) (*rig, *story) {
	r := newRig(t)
	a, b := r.node("a", 11), r.node("b", 12)
	s := newStory(a, b)
	s.network(cluster.NetworkLink{ID: "ingress", VNI: 4096, Ingress: true, Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}, Gateways: []netip.Addr{addr("10.0.0.1")}})
	s.network(cluster.NetworkLink{
		ID: "net", VNI: 4097, Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.9.0/24")}, Gateways: []netip.Addr{addr("10.0.9.1")},
		Services: []cluster.VIP{
			{ServiceID: "web", Name: "web", Aliases: []string{"www"}, Addresses: []netip.Addr{addr("10.0.9.2")}},
			{ServiceID: "rr", Name: "rr"},
			{ServiceID: "none", Name: "none", Addresses: []netip.Addr{addr("10.0.9.3")}},
		},
	})
	s.network(cluster.NetworkLink{ID: "away", VNI: 4098, Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.8.0/24")}, Gateways: []netip.Addr{addr("10.0.8.1")}})
	s.set(t)
	return r, s
}

func TestOverlay(t *testing.T) {
	r, s := both(t)
	a, b := s.nodes[0], s.nodes[1]
	before := r.dump(a.ns)
	s.task(0, "w1", "web", at("net", "10.0.9.5/24"))
	s.task(0, "w2", "web", at("net", "10.0.9.6/24"))
	s.task(1, "w3", "web", at("net", "10.0.9.7/24"))
	s.task(1, "x1", "rr", at("net", "10.0.9.8/24"))
	s.task(0, "f1", "far", at("away", "10.0.8.5/24"))
	s.set(t)
	spread(t, "direct, across nodes", r.from(a.inside(id("w1")), 5, "tcp", "10.0.9.7:80"), "w3 10.0.9.5")
	for _, proto := range []string{"tcp", "udp"} {
		spread(t, "VIP from another task, "+proto, r.from(b.inside(id("x1")), 60, proto, "10.0.9.2:80"), "w1 10.0.9.8", "w2 10.0.9.8", "w3 10.0.9.8")
		// A task that reaches itself sees the address that N took for the way back.
		spread(t, "VIP from a backend, "+proto, r.from(a.inside(id("w1")), 60, proto, "10.0.9.2:80"), "w1 10.0.9.1", "w2 10.0.9.5", "w3 10.0.9.5")
	}
	for err, n := range r.from(b.inside(id("x1")), 3, "tcp", "10.0.9.3:80") {
		if !strings.Contains(err, "refused") || n != 3 {
			t.Errorf("a service without tasks: %s", err)
		}
	}
	if err := b.in(id("x1"), func() error { return ping("10.0.9.2") }); err != nil {
		t.Errorf("the VIP does not answer ping: %v", err)
	}
	if got := r.from(a.inside(id("f1")), 1, "tcp", "10.0.9.5:80"); got["w1 10.0.8.5"] > 0 {
		t.Errorf("networks are not apart: %v", got)
	}
	names := func(from *node, who, name string, want ...string) {
		t.Helper()
		got, _ := from.resolve(id(who), "udp", name, dns.TypeA)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for _, from := range []struct {
		*node
		who string
	}{{a, "w1"}, {b, "x1"}} {
		names(from.node, from.who, "web", "10.0.9.2")
		names(from.node, from.who, "www", "10.0.9.2")
		names(from.node, from.who, "tasks.web", "10.0.9.5", "10.0.9.6", "10.0.9.7")
		names(from.node, from.who, "rr", "10.0.9.8")
		names(from.node, from.who, "web.1.w3", "10.0.9.7")
		names(from.node, from.who, id("w3")[:12], "10.0.9.7")
	}
	if got, code := a.resolve(id("f1"), "udp", "web", dns.TypeA); code != dns.RcodeNameError {
		t.Errorf("a name of another network: %v", got)
	}

	a.exact()
	b.exact()

	// One leaves: names and VIP follow.
	s.link("net").Endpoints[0].Live = false
	s.set(t)
	spread(t, "VIP after one left", r.from(b.inside(id("x1")), 40, "tcp", "10.0.9.2:80"), "w2 10.0.9.8", "w3 10.0.9.8")
	names(b, "x1", "tasks.web", "10.0.9.6", "10.0.9.7")

	a.exact()
	a.restart()
	spread(t, "VIP after a restart", r.from(a.inside(id("w1")), 40, "tcp", "10.0.9.2:80"), "w2 10.0.9.5", "w3 10.0.9.5")
	names(a, "w1", "tasks.web", "10.0.9.6", "10.0.9.7")
	for _, c := range []string{"w1", "w2", "f1"} {
		if err := a.Detach(t.Context(), id(c)); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(before, r.dump(a.ns)); diff != "" {
		t.Errorf("left behind: %s", diff)
	}
}

func TestMesh(t *testing.T) {
	r, s := both(t)
	a, b := s.nodes[0], s.nodes[1]
	// Another firewall that drops what it does not know, as Docker's and ufw's do.
	r.sh(`nsenter --net=/run/netns/%s nft -f - <<< 'table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; ct mark 0x77 accept; }; }'`, a.ns)
	s.task(0, "w1", "web", at("net", "10.0.9.5/24"), at("ingress", "10.0.0.5/24"))
	s.task(1, "w2", "web", at("net", "10.0.9.6/24"), at("ingress", "10.0.0.6/24"))
	for _, proto := range []string{"tcp", "udp"} {
		p := swarm.PortConfig{TargetPort: 80, PublishedPort: 8080}
		if proto == "udp" {
			p.Protocol = "udp"
		}
		s.state.Ports = append(s.state.Ports, cluster.Port{ServiceID: "web", Config: p, Backends: []netip.Addr{addr("10.0.0.5"), addr("10.0.0.6")}})
	}
	s.set(t)
	for _, proto := range []string{"tcp", "udp"} {
		for _, entry := range []string{"10.98.0.11", "10.98.0.12"} {
			spread(t, "outside through "+entry+", "+proto, r.from(r.outside, 60, proto, entry+":8080"), "w1 10.98.0.9", "w2 10.98.0.9")
		}
		spread(t, "127.0.0.1, "+proto, r.from(a.onHost, 30, proto, "127.0.0.1:8080"), "w1 169.254.2.1", "w2 169.254.2.1")
		spread(t, "own address, "+proto, r.from(a.onHost, 30, proto, "10.98.0.11:8080"), "w1 10.98.0.11", "w2 10.98.0.11")
		spread(t, "a task, own node, "+proto, r.from(b.inside(id("w2")), 30, proto, "10.98.0.12:8080"), "w1 169.254.2.1", "w2 169.254.2.1")
	}
	a.exact()
	b.exact()
	for _, proto := range []string{"tcp", "udp"} {
		spread(t, "own VIP beside ingress, "+proto, r.from(a.inside(id("w1")), 30, proto, "10.0.9.2:80"), "w1 10.0.9.1", "w2 10.0.9.5")
	}
	spread(t, "VIP beside ingress", r.from(a.inside(id("w1")), 30, "tcp", "10.0.9.6:80"), "w2 10.0.9.5")
	if out := r.sh("nsenter --net=/run/netns/%s nft list table ip filter", a.ns); strings.Count(out, "shoal:accept") != 2 {
		t.Errorf("accepts: %s", out)
	}
	// Bound to one address of the node.
	for i := range s.state.Ports {
		s.state.Ports[i].Bind = cluster.Bind{Prefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	}
	s.set(t)
	a.exact()
	spread(t, "bound to 127.0.0.1", r.from(a.onHost, 30, "tcp", "127.0.0.1:8080"), "w1 169.254.2.1", "w2 169.254.2.1")
	for answer := range r.from(r.outside, 1, "tcp", "10.98.0.11:8080") {
		if !strings.Contains(answer, "refused") {
			t.Errorf("bound to 127.0.0.1, from outside: %s", answer)
		}
	}
	// Bound to an interface, by its name.
	for i := range s.state.Ports {
		s.state.Ports[i].Bind = cluster.Bind{Links: []string{"eth0"}}
	}
	s.set(t)
	spread(t, "bound to eth0", r.from(r.outside, 30, "tcp", "10.98.0.11:8080"), "w1 10.98.0.9", "w2 10.98.0.9")
	for answer := range r.from(a.onHost, 1, "tcp", "127.0.0.1:8080") {
		if !strings.Contains(answer, "refused") {
			t.Errorf("bound to eth0, from 127.0.0.1: %s", answer)
		}
	}
	// No tasks left: refused, on every node.
	for i := range s.state.Ports {
		s.state.Ports[i].Backends = nil
	}
	s.set(t)
	for err := range r.from(r.outside, 1, "tcp", "10.98.0.11:8080") {
		if !strings.Contains(err, "refused") {
			t.Errorf("no tasks: %s", err)
		}
	}
}

// One client with one source port towards two nodes and the same task: without zones the second connection hangs.
func TestMeshSamePortThroughTwoNodes(t *testing.T) {
	r, s := both(t)
	s.task(0, "w1", "web", at("ingress", "10.0.0.5/24"))
	s.state.Ports = []cluster.Port{{ServiceID: "web", Config: swarm.PortConfig{TargetPort: 80, PublishedPort: 8080}, Backends: []netip.Addr{addr("10.0.0.5")}}}
	s.set(t)
	err := r.outside(func() error {
		var open []net.Conn
		for _, entry := range []string{"10.98.0.11", "10.98.0.12"} {
			d := net.Dialer{Timeout: 2 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(10, 98, 0, 9), Port: 5555}, Control: reuse}
			c, err := d.Dial("tcp", entry+":8080")
			if err != nil {
				return err
			}
			open = append(open, c)
			if line, err := bufio.NewReader(c).ReadString('\n'); line != "w1 10.98.0.9\n" {
				return errors.Join(fmt.Errorf("answer %q", line), err)
			}
		}
		for _, c := range open {
			c.Close()
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func reuse(_, _ string, c syscall.RawConn) error {
	var err error
	return errors.Join(c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) }), err)
}

func TestDualStack(t *testing.T) {
	r := newRig(t)
	a, b := r.node("a", 11), r.node("b", 12)
	s := newStory(a, b)
	s.network(cluster.NetworkLink{ID: "ingress", VNI: 4096, Ingress: true, Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("fd00::/64")}})
	s.network(cluster.NetworkLink{
		ID: "net", VNI: 4097, Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.9.0/24"), netip.MustParsePrefix("fd09::/64")},
		Gateways: []netip.Addr{addr("10.0.9.1"), addr("fd09::1")},
		Services: []cluster.VIP{{ServiceID: "web", Name: "web", Addresses: []netip.Addr{addr("10.0.9.2"), addr("fd09::2")}}},
	})
	s.set(t)
	two := func(network, v4, v6 string) cluster.Attachment {
		return cluster.Attachment{NetworkID: network, Addresses: []netip.Prefix{netip.MustParsePrefix(v4), netip.MustParsePrefix(v6)}}
	}
	s.task(0, "w1", "web", two("net", "10.0.9.5/24", "fd09::5/64"), two("ingress", "10.0.0.5/24", "fd00::5/64"))
	s.task(1, "w2", "web", two("net", "10.0.9.6/24", "fd09::6/64"), two("ingress", "10.0.0.6/24", "fd00::6/64"))
	s.state.Ports = []cluster.Port{{
		ServiceID: "web", Config: swarm.PortConfig{TargetPort: 80, PublishedPort: 8080},
		Backends: []netip.Addr{addr("10.0.0.5"), addr("fd00::5"), addr("10.0.0.6"), addr("fd00::6")},
	}}
	s.set(t)
	a.exact()
	b.exact()
	spread(t, "direct", r.from(a.inside(id("w1")), 5, "tcp", "[fd09::6]:80"), "w2 fd09::5")
	spread(t, "VIP", r.from(a.inside(id("w1")), 40, "tcp", "[fd09::2]:80"), "w2 fd09::5", "w1 fd09::1")
	for _, entry := range []string{"fd98::11", "fd98::12"} {
		spread(t, "mesh through "+entry, r.from(r.outside, 40, "tcp", "["+entry+"]:8080"), "w1 fd98::9", "w2 fd98::9")
	}
	if got, _ := a.resolve(id("w1"), "udp", "web", dns.TypeAAAA); !slices.Equal(got, []string{"fd09::2"}) {
		t.Errorf("AAAA: %v", got)
	}
}

// A client that waits for an answer of a task whose node died must not wait for its kernel to give up.
func TestDeadNodeEndsConnections(t *testing.T) {
	r, s := both(t)
	a := s.nodes[0]
	s.task(0, "c1", "client", at("net", "10.0.9.9/24"))
	s.task(1, "w1", "web", at("net", "10.0.9.5/24"))
	s.set(t)
	var c net.Conn
	if err := a.in(id("c1"), func() (err error) { c, err = net.DialTimeout("tcp", "10.0.9.2:80", 2*time.Second); return err }); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	lines := bufio.NewReader(c)
	if line, err := lines.ReadString('\n'); err != nil || line != "w1 10.0.9.9\n" {
		t.Fatalf("%q %v", line, err)
	}
	r.sh("ip -n %s link set eth0 down", s.nodes[1].ns)
	s.link("net").Endpoints = s.link("net").Endpoints[:1]
	if err := a.Set(t.Context(), s.state); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(3 * time.Second))
	if _, err := lines.ReadString('\n'); !errors.Is(err, syscall.ECONNABORTED) {
		t.Errorf("the waiting client got %v", err)
	}
	for err := range r.from(a.inside(id("c1")), 1, "tcp", "10.0.9.2:80") {
		if !strings.Contains(err, "refused") {
			t.Errorf("a new connection: %s", err)
		}
	}
}
