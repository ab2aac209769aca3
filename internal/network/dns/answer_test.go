package dns

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

func asker() *Asker {
	a := func(s string) []netip.Addr { return []netip.Addr{netip.MustParseAddr(s)} }
	return &Asker{Networks: []*Names{
		NewNames(cluster.NetworkLink{
			Name: "net", Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.9.0/24")},
			Services: []cluster.VIP{
				{ServiceID: "w", Name: "Web", Aliases: []string{"front"}, Addresses: a("10.0.9.2"), Ports: []swarm.PortConfig{
					{Name: "HTTP", Protocol: "tcp", TargetPort: 80, PublishedPort: 8080}, {TargetPort: 80, PublishedPort: 8081}, {Protocol: "udp", TargetPort: 53},
				}},
				{ServiceID: "r", Name: "rr", Aliases: []string{"round"}, Ports: []swarm.PortConfig{{Protocol: "tcp", TargetPort: 90}}},
			},
			Endpoints: []cluster.Endpoint{
				{Name: "web.1.x", Hostname: "h1", ServiceID: "w", Addresses: a("10.0.9.5"), Live: true},
				{Name: "web.2.y", ServiceID: "w", Addresses: a("10.0.9.6")},
				{Name: "rr.1.z", ServiceID: "r", Addresses: a("10.0.9.7"), Live: true},
				{Name: "plain", Aliases: []string{"also"}, Addresses: a("10.0.9.8"), Live: true},
			},
		}, nil),
		NewNames(cluster.NetworkLink{Name: "second", Services: []cluster.VIP{{ServiceID: "o", Name: "other", Addresses: a("fd00::2")}}}, nil),
	}}
}

func TestAnswer(t *testing.T) {
	for _, test := range []struct {
		name string
		kind uint16
		want []string // nil: forwarded
	}{
		{"web.", dns.TypeA, []string{"10.0.9.2"}},
		{"WEB.net.", dns.TypeA, []string{"10.0.9.2"}},
		{"web.second.", dns.TypeA, nil},
		{"web.", dns.TypeAAAA, []string{}}, // known, but not in this family: no error, since libc asks for both
		{"web.", dns.TypeMX, []string{}},
		{"front.", dns.TypeA, []string{"10.0.9.2"}},
		{"tasks.web.", dns.TypeA, []string{"10.0.9.5"}},
		{"web.2.y.", dns.TypeA, nil}, // not live
		{"h1.", dns.TypeA, []string{"10.0.9.5"}},
		{"rr.", dns.TypeA, []string{"10.0.9.7"}},
		{"round.", dns.TypeA, []string{"10.0.9.7"}},
		{"also.", dns.TypeA, []string{"10.0.9.8"}},
		{"other.", dns.TypeAAAA, []string{"fd00::2"}},
		{"example.com.", dns.TypeA, nil},
		{"_80._tcp.web.", dns.TypeSRV, []string{"Web.net.:80"}},
		{"_http._tcp.web.", dns.TypeSRV, []string{"Web.net.:80"}},
		{"_HTTP._tcp.front.net.", dns.TypeSRV, []string{"Web.net.:80"}},
		{"_53._udp.web.", dns.TypeSRV, []string{"Web.net.:53"}},
		{"_53._tcp.web.", dns.TypeSRV, []string{}},   // not forwarded: the name is ours
		{"_8080._tcp.web.", dns.TypeSRV, []string{}}, // the port in the container is meant
		{"_80._tcp.tasks.web.", dns.TypeSRV, []string{"web.1.x.net.:80"}},
		{"_90._tcp.rr.net.", dns.TypeSRV, []string{"rr.1.z.net.:90"}},
		{"_80._tcp.other.", dns.TypeSRV, []string{}},
		{"_80._tcp.web.", dns.TypeA, nil},
		{"web.", dns.TypeSRV, []string{}},
		{"_._tcp.web.", dns.TypeSRV, nil},
		{"5.9.0.10.in-addr.arpa.", dns.TypePTR, []string{"web.1.x.net."}},
		{"2.9.0.10.in-addr.arpa.", dns.TypePTR, []string{"Web.net."}},
		{"99.9.0.10.in-addr.arpa.", dns.TypePTR, []string{}},
		{"1.1.1.1.in-addr.arpa.", dns.TypePTR, nil},
		{"2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.", dns.TypePTR, []string{"other.second."}},
	} {
		reply := asker().answer(new(dns.Msg).SetQuestion(test.name, test.kind))
		if diff := cmp.Diff(test.want, texts(reply)); diff != "" {
			t.Errorf("%s %s: %s", test.name, dns.TypeToString[test.kind], diff)
		}
	}
}

func texts(reply *dns.Msg) []string {
	if reply == nil {
		return nil
	}
	out := []string{}
	for _, rr := range reply.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			out = append(out, rr.A.String())
		case *dns.AAAA:
			out = append(out, rr.AAAA.String())
		case *dns.PTR:
			out = append(out, rr.Ptr)
		case *dns.SRV:
			out = append(out, fmt.Sprint(rr.Target, ":", rr.Port))
		}
	}
	slices.Sort(out)
	return out
}

// FuzzAnswer: whatever parses as a query gets an answer that packs, or is forwarded.
func FuzzAnswer(f *testing.F) {
	for _, name := range []string{"web.", "tasks.web.", "5.9.0.10.in-addr.arpa.", "x.ip6.arpa.", "."} {
		b, err := new(dns.Msg).SetQuestion(name, dns.TypePTR).Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	who := asker()
	f.Fuzz(func(t *testing.T, b []byte) {
		q := new(dns.Msg)
		if q.Unpack(b) != nil {
			return
		}
		if reply := who.answer(q); reply != nil {
			if _, err := reply.Pack(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A port that is withdrawn is no longer told of, and one that another service has under the same alias still is.
func TestPortsChange(t *testing.T) {
	service := func(id, name string, ports ...swarm.PortConfig) cluster.NetworkLink {
		addr := []netip.Addr{netip.MustParseAddr("10.0.9." + id)}
		return cluster.NetworkLink{Name: "net", Services: []cluster.VIP{{ServiceID: id, Name: name, Aliases: []string{"shared"}, Addresses: addr, Ports: ports}}}
	}
	first := service("2", "first", swarm.PortConfig{Protocol: "tcp", TargetPort: 80})
	names := NewNames(first, nil)
	check := func(name string, want ...string) {
		t.Helper()
		got, _, _ := names.Served(name)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	check("_80._tcp.first", "first.net")
	names.Change(cluster.NetworkLink{}, service("3", "second", swarm.PortConfig{Protocol: "tcp", TargetPort: 80}))
	check("_80._tcp.shared", "first.net", "second.net")
	names.Change(first, service("2", "first", swarm.PortConfig{Protocol: "tcp", TargetPort: 81}))
	check("_80._tcp.first")
	check("_81._tcp.first", "first.net")
	names.Change(service("3", "second", swarm.PortConfig{Protocol: "tcp", TargetPort: 80}), cluster.NetworkLink{})
	check("_80._tcp.shared")
	check("_81._tcp.shared", "first.net")
}

// An answer that does not fit into a datagram says so, and is whole over TCP, or in the larger one that the asker allows.
func TestLargeAnswers(t *testing.T) {
	const tasks = 100
	link := cluster.NetworkLink{Services: []cluster.VIP{{ServiceID: "s", Name: "many"}}}
	for i := range tasks {
		link.Endpoints = append(link.Endpoints, cluster.Endpoint{
			TaskID: fmt.Sprint(i), Name: fmt.Sprint("many.", i), ServiceID: "s", Live: true, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 9, byte(i)})},
		})
	}
	s := New([]string{"192.0.2.1"}, slog.New(slog.DiscardHandler))
	t.Cleanup(s.Close)
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Listen("n", udp, tcp)
	s.Set(View{Source{"n", netip.MustParseAddr("127.0.0.1")}: {Networks: []*Names{NewNames(link, nil)}}})
	for _, test := range []struct {
		network, server string
		size            uint16
		whole           bool
	}{
		{"udp", udp.LocalAddr().String(), 0, false},
		{"tcp", tcp.Addr().String(), 0, true},
		{"udp", udp.LocalAddr().String(), 1232, false},
		{"udp", udp.LocalAddr().String(), 4096, true},
	} {
		q := new(dns.Msg).SetQuestion("tasks.many.", dns.TypeA)
		if test.size > 0 {
			q.SetEdns0(test.size, false)
		}
		reply, _, err := (&dns.Client{Net: test.network}).Exchange(q, test.server)
		if err != nil {
			t.Errorf("%s with %d: %v", test.network, test.size, err)
			continue
		}
		if reply.Truncated == test.whole || (len(reply.Answer) == tasks) != test.whole {
			t.Errorf("%s with %d: %d answers, truncated %v", test.network, test.size, len(reply.Answer), reply.Truncated)
		}
	}
}
