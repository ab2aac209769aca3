package allocate

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// numbers is a set of numbers below size, in pages of 1,024 that exist while they hold any, so that a /64 costs no
// more than what is used of it. The zero value is empty.
type numbers struct {
	pages map[uint64]*page
	used  uint64
}

type page struct {
	words [16]uint64
	used  int
}

const pageSize = 1024

func (s *numbers) has(n uint64) bool {
	p := s.pages[n/pageSize]
	return p != nil && p.words[n%pageSize/64]&(1<<(n%64)) != 0
}

// add says whether n was not in the set.
func (s *numbers) add(n uint64) bool {
	if s.has(n) {
		return false
	}
	if s.pages == nil {
		s.pages = map[uint64]*page{}
	}
	p := s.pages[n/pageSize]
	if p == nil {
		p = &page{}
		s.pages[n/pageSize] = p
	}
	p.words[n%pageSize/64] |= 1 << (n % 64)
	p.used++
	s.used++
	return true
}

func (s *numbers) remove(n uint64) {
	if !s.has(n) {
		return
	}
	p := s.pages[n/pageSize]
	p.words[n%pageSize/64] &^= 1 << (n % 64)
	p.used--
	s.used--
	if p.used == 0 {
		delete(s.pages, n/pageSize)
	}
}

// free is the lowest number from and up, below end, that is not in the set.
func (s *numbers) free(from, end uint64) (uint64, bool) {
	for n := from; n < end; {
		p := s.pages[n/pageSize]
		if p == nil {
			return n, true
		}
		if p.used == pageSize {
			n = (n/pageSize + 1) * pageSize
			continue
		}
		if gap := ^p.words[n%pageSize/64] >> (n % 64); gap != 0 {
			n += uint64(bits.TrailingZeros64(gap))
			return n, n < end
		}
		n = (n/64 + 1) * 64
	}
	return 0, false
}

// next is the lowest free number of [first, end) from cursor on, or else from first.
func (s *numbers) next(cursor, first, end uint64) (uint64, bool) {
	if n, ok := s.free(max(cursor, first), end); ok {
		return n, true
	}
	return s.free(first, min(cursor, end))
}

// subnet is the addresses of one family in a network. Numbers are distances from the subnet's own address; of an IPv6
// subnet only the first 2^63 are used.
type subnet struct {
	prefix     netip.Prefix
	gateway    netip.Addr
	first, end uint64 // what may be given out: the range, or all but the subnet's and the broadcast address
	taken      numbers
	cursor     uint64 // behind the last number given
}

// newSubnet has the gateway and aux taken. ok is false when prefix has no room for the gateway and one more.
func newSubnet(prefix, within netip.Prefix, gateway netip.Addr, aux []netip.Addr) *subnet {
	s := &subnet{prefix: prefix.Masked(), gateway: gateway}
	s.first, s.end = s.span(s.prefix)
	if within.IsValid() {
		first, end := s.span(within.Masked())
		s.first, s.end = max(first, s.first), min(end, s.end)
	}
	if s.end > 0 && s.prefix.Addr().Is4() && s.prefix.Bits() < 31 {
		s.taken.add(size(s.prefix) - 1) // broadcast
	}
	if s.prefix.Bits() < s.prefix.Addr().BitLen()-1 {
		s.taken.add(0) // the subnet itself; in IPv6 its routers' anycast address
	}
	s.take(gateway)
	for _, a := range aux {
		s.take(a)
	}
	s.cursor = s.first
	return s
}

// span is the numbers of a prefix within s.
func (s *subnet) span(p netip.Prefix) (first, end uint64) {
	first, _ = s.number(p.Addr())
	return first, first + size(p)
}

// size is how many addresses a prefix has; at most 2^63.
func size(p netip.Prefix) uint64 { return 1 << min(p.Addr().BitLen()-p.Bits(), 63) }

func (s *subnet) number(a netip.Addr) (uint64, bool) {
	if !s.prefix.Contains(a) {
		return 0, false
	}
	n := low(a) - low(s.prefix.Addr())
	return n, n < 1<<63
}

func (s *subnet) addr(n uint64) netip.Addr { return plus(s.prefix.Addr(), n) }

// low is the last 64 bits of an address.
func low(a netip.Addr) uint64 {
	if a.Is4() {
		b := a.As4()
		return uint64(binary.BigEndian.Uint32(b[:]))
	}
	b := a.As16()
	return binary.BigEndian.Uint64(b[8:])
}

// plus adds n to the last 64 bits of an address.
func plus(a netip.Addr, n uint64) netip.Addr {
	if a.Is4() {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(low(a)+n))
		return netip.AddrFrom4(b)
	}
	b := a.As16()
	binary.BigEndian.PutUint64(b[8:], low(a)+n)
	return netip.AddrFrom16(b)
}

// take books an address that is in use. Addresses of elsewhere are passed over.
func (s *subnet) take(a netip.Addr) bool {
	n, ok := s.number(a)
	return ok && s.taken.add(n)
}

// book is take for an address of a stored object: the next one given lies behind it.
func (s *subnet) book(a netip.Addr) {
	if n, ok := s.number(a); ok {
		s.taken.add(n)
		if n >= s.cursor && n < s.end {
			s.cursor = n + 1
		}
	}
}

func (s *subnet) release(a netip.Addr) {
	if n, ok := s.number(a); ok && a != s.gateway {
		s.taken.remove(n)
	}
}

// give takes the next free address.
func (s *subnet) give() (netip.Prefix, bool) {
	n, ok := s.taken.next(s.cursor, s.first, s.end)
	if !ok {
		return netip.Prefix{}, false
	}
	s.taken.add(n)
	s.cursor = n + 1
	return netip.PrefixFrom(s.addr(n), s.prefix.Bits()), true
}

// high is the first 64 bits of an IPv6 address.
func high(a netip.Addr) uint64 {
	b := a.As16()
	return binary.BigEndian.Uint64(b[:8])
}

func withHigh(a netip.Addr, h uint64) netip.Addr {
	b := a.As16()
	binary.BigEndian.PutUint64(b[:8], h)
	return netip.AddrFrom16(b)
}
