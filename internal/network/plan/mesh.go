package plan

import (
	"encoding/binary"

	"github.com/google/nftables/expr"
)

// returnPath sends the replies of the mesh back through the node that the client talked to, which translated the address,
// without hiding the client's: the connection's mark remembers which VXLAN peer its first packet came from. The number of
// rules does not grow with the nodes.
//
// With zones, connections that came through different nodes are tracked apart: one client may use one source port towards
// two nodes.
func returnPath(in Input, ns *Namespace, n *Net) {
	toMark := &Set{Key: []Type{Ether}, Data: []Type{Mark}, Elements: map[string]string{}}
	toMAC := &Set{Key: []Type{Mark}, Data: []Type{Ether}, Elements: map[string]string{}}
	toZone := &Set{Key: []Type{Ether}, Data: []Type{Zone}, Elements: map[string]string{}}
	for _, node := range in.Nodes {
		if node.ID == in.Self.ID {
			continue
		}
		mac := nodeMAC(node.Number)
		toMark.Elements[string(mac[:])] = join(native(markOf(node.Number)))
		toMAC.Elements[join(native(markOf(node.Number)))] = string(mac[:])
		toZone.Elements[string(mac[:])] = string(binary.NativeEndian.AppendUint16(nil, node.Number))
	}
	var mark, zone []RuleText
	for _, f := range families {
		for _, p := range subnetsOf(n, f) {
			from := []statement{iif(vxlanLink), f.inBoth("saddr", true, p)}
			mark = append(mark, rule(append(from, ctNew, markByMAC)...))
			zone = append(zone, rule(append(from[:2:2], zoneByMAC)...))
		}
		if n.has(f) {
			ns.Rules[Rule{Mark: markBit, Mask: markBit, Table: returnTable, V6: f.v6}] = struct{}{}
			ns.Routes[Dst{Prefix: anywhere(f), Table: returnTable}] = Route{Link: vxlanLink, Via: f.hop}
			ns.Neighs[Neigh{vxlanLink, f.hop}] = placeholder
		}
	}
	back := NewTable()
	back.Sets["vtep2mark"] = toMark
	back.Chains["in"] = &Chain{
		Type: "filter", Hook: "prerouting", Priority: -150,
		Rules: append(mark, rule(notIif(vxlanLink), ctReply, markFromConnection)),
	}
	ns.Tables[TableID{"inet", "shoal_ret"}] = back

	egress := NewTable()
	egress.Sets["mark2vtep"] = toMAC
	egress.Chains["out"] = &Chain{Type: "filter", Hook: "egress", Device: vxlanLink, Rules: []RuleText{rule(macByMark)}}
	ns.Tables[TableID{"netdev", "shoal_ret"}] = egress

	if in.Zones {
		zones := NewTable()
		zones.Sets["vtep2zone"] = toZone
		zones.Chains["raw"] = &Chain{Type: "filter", Hook: "prerouting", Priority: -300, Rules: zone}
		ns.Tables[TableID{"inet", "shoal_zone"}] = zones
	}
}

// etherSource and etherDestination are the offsets of the link header's addresses.
const (
	etherDestination = 0
	etherSource      = 6
)

var (
	loadEtherSource = &expr.Payload{DestRegister: reg1, Base: expr.PayloadBaseLLHeader, Offset: etherSource, Len: 6}

	markByMAC = statement{"ct mark set ether saddr map @vtep2mark", []expr.Any{
		loadEtherSource, lookup("vtep2mark"), &expr.Ct{Key: expr.CtKeyMARK, Register: reg1, SourceRegister: true},
	}}
	zoneByMAC = statement{"ct original zone set ether saddr map @vtep2zone", []expr.Any{
		loadEtherSource, lookup("vtep2zone"), &expr.Ct{Key: expr.CtKeyZONE, Register: reg1, SourceRegister: true, Direction: 0},
	}}
	markFromConnection = statement{"ct mark != 0 meta mark set ct mark", []expr.Any{
		&expr.Ct{Key: expr.CtKeyMARK, Register: reg1}, compare(true, native(0)),
		&expr.Ct{Key: expr.CtKeyMARK, Register: reg1},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: reg1, SourceRegister: true},
	}}
	macByMark = statement{"meta mark & 0x10000 == 0x10000 ether daddr set meta mark map @mark2vtep", []expr.Any{
		meta(expr.MetaKeyMARK, reg1),
		&expr.Bitwise{SourceRegister: reg1, DestRegister: reg1, Len: 4, Mask: native(markBit), Xor: native(0)},
		compare(false, native(markBit)),
		meta(expr.MetaKeyMARK, reg1), lookup("mark2vtep"),
		&expr.Payload{OperationType: expr.PayloadWrite, SourceRegister: reg1, Base: expr.PayloadBaseLLHeader, Offset: etherDestination, Len: 6},
	}}
)
