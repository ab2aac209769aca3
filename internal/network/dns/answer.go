package dns

import (
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// ttl is how many seconds an answer may be kept: a task can be gone in the next one.
const ttl = 1

// answer is what we know; nil: ask upstream.
func (a *Asker) answer(q *dns.Msg) *dns.Msg {
	if len(q.Question) != 1 || q.Opcode != dns.OpcodeQuery {
		return new(dns.Msg).SetRcode(q, dns.RcodeFormatError)
	}
	question := q.Question[0]
	if question.Qclass != dns.ClassINET {
		return nil
	}
	name := strings.ToLower(strings.TrimSuffix(question.Name, "."))
	if question.Qtype == dns.TypePTR {
		return a.pointer(q, name)
	}
	if question.Qtype == dns.TypeSRV {
		if reply := a.services(q, name); reply != nil {
			return reply
		}
	}
	var found []netip.Addr
	for _, n := range a.Networks {
		if found = n.Lookup(name); found != nil {
			break
		}
	}
	if found == nil {
		return nil
	}
	reply := new(dns.Msg).SetReply(q)
	reply.RecursionAvailable = true
	for _, addr := range found {
		header := dns.RR_Header{Name: question.Name, Rrtype: question.Qtype, Class: dns.ClassINET, Ttl: ttl}
		switch {
		case question.Qtype == dns.TypeA && addr.Is4():
			reply.Answer = append(reply.Answer, &dns.A{Hdr: header, A: addr.AsSlice()})
		case question.Qtype == dns.TypeAAAA && addr.Is6():
			reply.Answer = append(reply.Answer, &dns.AAAA{Hdr: header, AAAA: addr.AsSlice()})
		}
	}
	rand.Shuffle(len(reply.Answer), func(i, j int) { reply.Answer[i], reply.Answer[j] = reply.Answer[j], reply.Answer[i] })
	return reply
}

func (a *Asker) pointer(q *dns.Msg, name string) *dns.Msg {
	addr, ok := reverseAddr(name)
	if !ok {
		return nil
	}
	ours := false
	for _, n := range a.Networks {
		back, inside := n.Reverse(addr)
		ours = ours || inside
		if back == "" {
			continue
		}
		reply := new(dns.Msg).SetReply(q)
		reply.RecursionAvailable = true
		reply.Answer = []dns.RR{&dns.PTR{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypePTR, Class: dns.ClassINET, Ttl: ttl}, Ptr: dns.Fqdn(back)}}
		return reply
	}
	if ours {
		return new(dns.Msg).SetRcode(q, dns.RcodeNameError)
	}
	return nil
}

// reverseAddr reads 5.9.0.10.in-addr.arpa and its IPv6 twin (RFC 1035 3.5, RFC 3596 2.5).
func reverseAddr(name string) (netip.Addr, bool) {
	if rest, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		parts := strings.Split(rest, ".")
		if len(parts) != 4 {
			return netip.Addr{}, false
		}
		a, err := netip.ParseAddr(parts[3] + "." + parts[2] + "." + parts[1] + "." + parts[0])
		return a, err == nil
	}
	rest, ok := strings.CutSuffix(name, ".ip6.arpa")
	digits := strings.Split(rest, ".")
	if !ok || len(digits) != 32 {
		return netip.Addr{}, false
	}
	var b [16]byte
	for i, d := range digits {
		v, err := strconv.ParseUint(d, 16, 4)
		if err != nil || len(d) != 1 {
			return netip.Addr{}, false
		}
		at := 31 - i
		b[at/2] |= byte(v) << (4 * (1 - at%2))
	}
	return netip.AddrFrom16(b), true
}
