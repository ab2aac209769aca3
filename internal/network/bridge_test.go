package network

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	api "github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"
)

func id(short string) string { return short + strings.Repeat("0", 62) }

func TestBridge(t *testing.T) {
	r := newRig(t)
	n := r.node("a", 11)
	before := r.dump(n.ns)
	a := n.attach(Request{
		ContainerID: id("a1"), Name: "a", Local: []LocalAttachment{{Network: "bridge"}},
		Ports: []swarm.PortConfig{{Protocol: "tcp", TargetPort: 80, PublishedPort: 8080}, {Protocol: "udp", TargetPort: 80, PublishedPort: 8080}, {Protocol: "tcp", TargetPort: 80}},
	})
	b := n.attach(Request{
		ContainerID: id("b1"), Name: "b", Local: []LocalAttachment{{Network: "bridge"}},
		Ports: []swarm.PortConfig{{Protocol: "tcp", TargetPort: 80, PublishedPort: 9090}}, Bind: []netip.Addr{netip.MustParseAddr("127.0.0.1")},
	})
	if a.Nameserver != "" || a.Endpoints["bridge"].IPAddress == b.Endpoints["bridge"].IPAddress {
		t.Errorf("a: %+v, b: %+v", a, b)
	}
	n.serve(id("a1"), 80)
	n.serve(id("b1"), 80)
	ipA, ipB := a.Endpoints["bridge"].IPAddress.String(), b.Endpoints["bridge"].IPAddress.String()
	gateway := a.Endpoints["bridge"].Gateway.String()
	want := func(what string, got map[string]int, answer string) {
		t.Helper()
		if diff := cmp.Diff(map[string]int{answer: 5}, got); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	want("container to container", r.from(n.inside(id("a1")), 5, "tcp", ipB+":80"), "b1 "+ipA)
	want("host to container", r.from(n.onHost, 5, "tcp", ipB+":80"), "b1 "+gateway)
	for _, proto := range []string{"tcp", "udp"} {
		want("published, "+proto, r.from(r.outside, 5, proto, "10.98.0.11:8080"), "a1 10.98.0.9")
		want("published on 127.0.0.1, "+proto, r.from(n.onHost, 5, proto, "127.0.0.1:8080"), "a1 169.254.2.1")
		want("published, own address, "+proto, r.from(n.onHost, 5, proto, "10.98.0.11:8080"), "a1 10.98.0.11")
		want("published, from its neighbour, "+proto, r.from(n.inside(id("b1")), 5, proto, "10.98.0.11:8080"), "a1 169.254.2.1")
	}
	want("bound to 127.0.0.1", r.from(n.onHost, 5, "tcp", "127.0.0.1:9090"), "b1 169.254.2.1")
	if got := r.from(r.outside, 1, "tcp", "10.98.0.11:9090"); got["b1 10.98.0.9"] != 0 {
		t.Errorf("bound to 127.0.0.1 but answered outside: %v", got)
	}
	if p := a.Ports[2].PublishedPort; p < firstDynamic {
		t.Errorf("dynamic port is %d", p)
	}
	_, err := n.Attach(t.Context(), Request{ContainerID: id("c1"), Local: []LocalAttachment{{Network: "bridge"}}, Ports: []swarm.PortConfig{{TargetPort: 80, PublishedPort: 8080}}})
	if err == nil || !strings.Contains(err.Error(), "Bind for 0.0.0.0:8080 failed: port is already allocated") {
		t.Errorf("port twice: %v", err)
	}

	// Out through the node, masqueraded: the client sees the node.
	srv := r.serveOutside()
	want("egress", r.from(n.inside(id("a1")), 5, "tcp", srv), "out 10.98.0.11")

	n.restart()
	want("published, after a restart", r.from(r.outside, 5, "tcp", "10.98.0.11:8080"), "a1 10.98.0.9")
	for _, c := range []string{id("a1"), id("b1")} {
		if err := n.Detach(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(before, r.dump(n.ns)); diff != "" {
		t.Errorf("left behind: %s", diff)
	}
	if entries, _ := os.ReadDir(n.config.RunDir + "/ns"); len(entries) > 0 {
		t.Errorf("pins left: %v", entries)
	}
}

func TestUserNetworkNames(t *testing.T) {
	r := newRig(t)
	n := r.node("a", 11)
	yes := true
	made, err := n.CreateLocal(t.Context(), api.CreateRequest{Name: "mynet", EnableIPv6: &yes})
	if err != nil {
		t.Fatal(err)
	}
	a := n.attach(Request{ContainerID: id("a1"), Name: "/alpha", Hostname: "hosta", Local: []LocalAttachment{{Network: "mynet", Aliases: []string{"front"}}}})
	n.attach(Request{ContainerID: id("b1"), Name: "/beta", Local: []LocalAttachment{{Network: made.ID[:12]}}})
	ip := a.Endpoints["mynet"].IPAddress.String()
	for _, transport := range []string{"udp", "tcp"} {
		for _, name := range []string{"alpha", "ALPHA", "front", "hosta", id("a1")[:12], "alpha.mynet"} {
			if got, _ := n.resolve(id("b1"), transport, name, dns.TypeA); cmp.Diff([]string{ip}, got) != "" {
				t.Errorf("%s by %s: %v, want %s", name, transport, got, ip)
			}
		}
	}
	if got, _ := n.resolve(id("b1"), "udp", "alpha", dns.TypeAAAA); cmp.Diff([]string{a.Endpoints["mynet"].GlobalIPv6Address.String()}, got) != "" {
		t.Errorf("AAAA: %v", got)
	}
	back, _ := dns.ReverseAddr(ip)
	if got, _ := n.resolve(id("b1"), "udp", back, dns.TypePTR); cmp.Diff([]string{"alpha.mynet."}, got) != "" {
		t.Errorf("PTR: %v", got)
	}
	if got, code := n.resolve(id("b1"), "udp", "nosuch", dns.TypeA); code != dns.RcodeNameError {
		t.Errorf("unknown name: %v %d", got, code)
	}
	n.serve(id("a1"), 80)
	if got := r.from(n.inside(id("b1")), 5, "tcp6", "["+a.Endpoints["mynet"].GlobalIPv6Address.String()+"]:80"); len(got) != 1 || got["a1 "+ipv6Of(n, "b1")] != 5 {
		t.Errorf("IPv6: %v", got)
	}
	if err := n.RemoveLocal(t.Context(), "mynet"); err == nil || !strings.Contains(err.Error(), "active endpoints") {
		t.Errorf("removal in use: %v", err)
	}
}

func ipv6Of(n *node, short string) string {
	s, _ := n.Sandbox(id(short))
	return s.Endpoints["mynet"].GlobalIPv6Address.String()
}
