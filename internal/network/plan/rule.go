package plan

import (
	"encoding/binary"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A statement is a part of a rule, in both of its forms side by side.
type statement struct {
	text  string
	exprs []expr.Any
}

func rule(parts ...statement) RuleText {
	var r RuleText
	words := make([]string, len(parts))
	for i, p := range parts {
		words[i] = p.text
		r.Exprs = append(r.Exprs, p.exprs...)
	}
	r.Text = strings.Join(words, " ")
	return r
}

// Register one is sixteen bytes wide; the four-byte registers follow from eight on, and overlap with it. The parts of a
// concatenated key lie behind one another.
const (
	reg1  = 1
	reg32 = 8 // NFT_REG32_00, the first four bytes of reg1
)

func meta(key expr.MetaKey, reg uint32) expr.Any { return &expr.Meta{Key: key, Register: reg} }

func compare(not bool, data []byte) expr.Any {
	op := expr.CmpOpEq
	if not {
		op = expr.CmpOpNeq
	}
	return &expr.Cmp{Op: op, Register: reg1, Data: data}
}

func equals(not bool) string {
	if not {
		return "!= "
	}
	return ""
}

// link matches the name of the device a packet came in by (iifname) or goes out by; a name that ends in * matches all
// that begin so.
func link(word string, not bool, name string) statement {
	key := expr.MetaKeyIIFNAME
	if word == "oifname" {
		key = expr.MetaKeyOIFNAME
	}
	data := make([]byte, 16)
	copy(data, name)
	if begin, ok := strings.CutSuffix(name, "*"); ok {
		data = []byte(begin)
	}
	return statement{word + " " + equals(not) + `"` + name + `"`, []expr.Any{meta(key, reg1), compare(not, data)}}
}

func iif(name string) statement    { return link("iifname", false, name) }
func notIif(name string) statement { return link("iifname", true, name) }
func oif(name string) statement    { return link("oifname", false, name) }
func notOif(name string) statement { return link("oifname", true, name) }

func native(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

// ctBits matches when any of the bits of a conntrack field is set (or, with not, none is).
func ctBits(text string, key expr.CtKey, bits uint32, not bool) statement {
	return statement{text, []expr.Any{
		&expr.Ct{Key: key, Register: reg1},
		&expr.Bitwise{SourceRegister: reg1, DestRegister: reg1, Len: 4, Mask: native(bits), Xor: native(0)},
		compare(!not, native(0)),
	}}
}

// The bits are the kernel's (nf_conntrack_common.h): NF_CT_STATE_BIT(IP_CT_NEW), IPS_DST_NAT.
var (
	ctNew     = ctBits("ct state new", expr.CtKeySTATE, 8, false)
	ctDNAT    = ctBits("ct status dnat", expr.CtKeySTATUS, 32, false)
	ctNotDNAT = ctBits("ct status & dnat == 0", expr.CtKeySTATUS, 32, true)
	ctReply   = statement{"ct direction reply", []expr.Any{&expr.Ct{Key: expr.CtKeyDIRECTION, Register: reg1}, compare(false, []byte{1})}}
)

var (
	masquerade = statement{"masquerade", []expr.Any{&expr.Masq{}}}
	accept     = statement{"accept", []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}}
	drop       = statement{"drop", []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}}
	notrack    = statement{"notrack", []expr.Any{&expr.Notrack{}}}
	toLocal    = statement{"fib daddr type local", []expr.Any{
		&expr.Fib{Register: reg1, ResultADDRTYPE: true, FlagDADDR: true}, compare(false, native(unix.RTN_LOCAL)),
	}}
)

// l4 matches one transport protocol; transport all that have ports.
func l4(proto byte) statement {
	return statement{"meta l4proto " + protoName(proto), []expr.Any{meta(expr.MetaKeyL4PROTO, reg1), compare(false, []byte{proto})}}
}

func protoName(p byte) string {
	switch p {
	case unix.IPPROTO_TCP:
		return "tcp"
	case unix.IPPROTO_UDP:
		return "udp"
	case unix.IPPROTO_SCTP:
		return "sctp"
	case unix.IPPROTO_ICMP:
		return "icmp"
	}
	return "ipv6-icmp"
}

// port matches the destination port (dport) or source port of any transport protocol.
func port(word string, number uint16) statement {
	offset := uint32(2)
	if word == "sport" {
		offset = 0
	}
	return statement{"th " + word + " " + uitoa(uint64(number)), []expr.Any{
		&expr.Payload{DestRegister: reg1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2},
		compare(false, binary.BigEndian.AppendUint16(nil, number)),
	}}
}

func loadL4(reg uint32) expr.Any { return meta(expr.MetaKeyL4PROTO, reg) }

func loadPort(reg uint32) expr.Any {
	return &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}
}

func random(reg uint32, n int) expr.Any {
	return &expr.Numgen{Register: reg, Modulus: uint32(n), Type: unix.NFT_NG_RANDOM}
}

func lookup(set string) expr.Any {
	return &expr.Lookup{SourceRegister: reg1, DestRegister: reg1, IsDestRegSet: true, SetName: set}
}

// vmap is a verdict map's look-up: the verdict is register zero.
func vmap(set string) expr.Any {
	return &expr.Lookup{SourceRegister: reg1, IsDestRegSet: true, SetName: set}
}

func inSet(set string) expr.Any { return &expr.Lookup{SourceRegister: reg1, SetName: set} }

// unreachable matches ICMP's type 3.
var unreachable = statement{"icmp type destination-unreachable", []expr.Any{
	meta(expr.MetaKeyL4PROTO, reg1), compare(false, []byte{unix.IPPROTO_ICMP}),
	&expr.Payload{DestRegister: reg1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1}, compare(false, []byte{3}),
}}
