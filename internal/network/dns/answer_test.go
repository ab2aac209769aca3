package dns

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"shoal/internal/cluster"
)

func asker() *Asker {
	a := func(s string) []netip.Addr { return []netip.Addr{netip.MustParseAddr(s)} }
	return &Asker{Networks: []*Names{
		NewNames(cluster.NetworkLink{
			Name: "net", Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.9.0/24")},
			Services: []cluster.VIP{
				{ServiceID: "w", Name: "Web", Aliases: []string{"front"}, Addresses: a("10.0.9.2")},
				{ServiceID: "r", Name: "rr", Aliases: []string{"round"}},
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
