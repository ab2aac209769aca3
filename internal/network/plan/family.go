package plan

import (
	"net/netip"
	"strconv"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// family is what differs between IPv4 and IPv6 in a rule.
type family struct {
	v6       bool
	table    string // nftables family
	typ      Type
	length   uint32
	src, dst uint32 // offsets in the header
	nfproto  uint32
	loopback netip.Prefix
	gateway  netip.Addr // of containers, and their resolver's address
	hop      netip.Addr // placeholder next hop of the mesh's return path
}

// The gateway is on the loopback of N for IPv4, where any link answers ARP for it; for IPv6 it is on each link. Next hops
// are keys of the neighbour table alone and never leave N, so they are taken where no container will want to talk to:
// the range for benchmarks (RFC 2544), and link-local.
var (
	v4 = family{
		table: "ip", typ: IPv4, length: 4, src: 12, dst: 16, nfproto: unix.NFPROTO_IPV4, loopback: netip.MustParsePrefix("127.0.0.0/8"),
		gateway: netip.MustParseAddr("169.254.1.1"), hop: netip.MustParseAddr("198.19.255.254"),
	}
	v6 = family{
		v6: true, table: "ip6", typ: IPv6, length: 16, src: 8, dst: 24, nfproto: unix.NFPROTO_IPV6, loopback: netip.MustParsePrefix("::1/128"),
		gateway: netip.MustParseAddr("fe80::1"), hop: netip.MustParseAddr("fe80::fffe:fffe"),
	}
	families = []family{v4, v6}
)

// ResolverAddr is where each network's N answers names.
var ResolverAddr = v4.gateway

func familyOf(a netip.Addr) family {
	if a.Is4() {
		return v4
	}
	return v6
}

func (f family) holds(a netip.Addr) bool { return a.Is4() != f.v6 }

func (f family) bits() int { return int(f.length) * 8 }

func (f family) load(offset, reg uint32) expr.Any {
	return &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: f.length}
}

// after is the register behind an address in register one.
func (f family) after() uint32 { return reg32 + f.length/4 }

// inBoth is in for tables of both families. In those of one, nft (1.0.6) dies of listing a rule that matches it.
func (f family) inBoth(word string, not bool, p netip.Prefix) statement {
	s := f.in(word, not, p)
	s.exprs = append([]expr.Any{meta(expr.MetaKeyNFPROTO, reg1), compare(false, []byte{byte(f.nfproto)})}, s.exprs...)
	return s
}

// in matches an address within a prefix.
func (f family) in(word string, not bool, p netip.Prefix) statement {
	offset := f.dst
	if word == "saddr" {
		offset = f.src
	}
	s := statement{text: f.table + " " + word + " " + equals(not) + p.String()}
	s.exprs = append(s.exprs, f.load(offset, reg1))
	if p.Bits() < f.bits() {
		mask := make([]byte, f.length)
		for i := range p.Bits() {
			mask[i/8] |= 0x80 >> (i % 8)
		}
		s.exprs = append(s.exprs, &expr.Bitwise{SourceRegister: reg1, DestRegister: reg1, Len: f.length, Mask: mask, Xor: make([]byte, f.length)})
	} else {
		s.text = f.table + " " + word + " " + equals(not) + p.Addr().String()
	}
	s.exprs = append(s.exprs, compare(not, p.Masked().Addr().AsSlice()))
	return s
}

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

func uitoa(v uint64) string { return strconv.FormatUint(v, 10) }
