package plan

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
)

// The raw bytes of set elements. Every part of a concatenation fills whole four-byte registers.

func pad(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func keyAddr(a netip.Addr) []byte { return a.AsSlice() }
func keyPort(p uint16) []byte     { return pad(binary.BigEndian.AppendUint16(nil, p)) }
func keyProto(p byte) []byte      { return pad([]byte{p}) }
func keyNumber(n uint32) []byte   { return native(n) }

func join(parts ...[]byte) string {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	return string(b)
}

// size is how many bytes a part takes when it is not the only one.
func (t Type) size() int {
	switch t {
	case IPv6:
		return 16
	case Ether:
		return 8
	}
	return 4
}

// words prints raw bytes as nft does.
func words(types []Type, raw string) string {
	if len(types) == 1 && types[0] == Verdict {
		return "goto " + raw
	}
	var out []string
	for _, t := range types {
		part := raw
		if len(types) > 1 && len(raw) >= t.size() {
			part, raw = raw[:t.size()], raw[t.size():]
		}
		out = append(out, word(t, []byte(part)))
	}
	return strings.Join(out, " . ")
}

func word(t Type, b []byte) string {
	switch {
	case t == IPv4 && len(b) == 4, t == IPv6 && len(b) == 16:
		a, _ := netip.AddrFromSlice(b)
		return a.String()
	case t == Proto && len(b) > 0:
		return protoName(b[0])
	case t == Port && len(b) >= 2:
		return uitoa(uint64(binary.BigEndian.Uint16(b)))
	case t == Mark && len(b) == 4:
		if n := binary.NativeEndian.Uint32(b); n > 0xffff {
			return fmt.Sprintf("%#x", n)
		} else {
			return uitoa(uint64(n))
		}
	case t == Zone && len(b) >= 2:
		return uitoa(uint64(binary.NativeEndian.Uint16(b)))
	case t == Ether && len(b) >= 6:
		return MAC(b[:6]).String()
	}
	return fmt.Sprintf("%x", b)
}
