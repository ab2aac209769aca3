package kernel

import (
	"encoding/binary"
	"slices"

	"github.com/google/nftables/expr"
	mdlayher "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// fate is what a rule without a condition does with every packet that comes to it. The zero value is none: it has a
// condition, or no verdict.
type fate struct {
	kind  fateKind
	chain string // where it leads
}

type fateKind byte

const (
	undecided fateKind = iota
	accepted
	refused
	jumps
	goes
)

// fateOf reads a rule's expressions (NFTA_RULE_EXPRESSIONS). What it does not know counts as a condition.
func fateOf(list *mdlayher.AttributeDecoder) (f fate) {
	condition := false
	for list.Next() {
		var name string
		var data []byte
		list.Nested(func(e *mdlayher.AttributeDecoder) error {
			for e.Next() {
				switch e.Type() {
				case unix.NFTA_EXPR_NAME:
					name = e.String()
				case unix.NFTA_EXPR_DATA:
					data = e.Bytes()
				}
			}
			return nil
		})
		switch name {
		case "counter", "log":
		case "reject":
			f.kind = refused
		case "immediate":
			f = verdictOf(data)
		case "match", "target": // iptables' own, by their name there
			switch extension(data) {
			case "comment":
			case "REJECT":
				f.kind = refused
			default:
				condition = true
			}
		default:
			condition = true
		}
	}
	if condition {
		return fate{}
	}
	return f
}

func verdictOf(immediate []byte) (f fate) {
	inside(immediate, unix.NFTA_IMMEDIATE_DATA, func(data []byte) {
		inside(data, unix.NFTA_DATA_VERDICT, func(verdict []byte) {
			inside(verdict, unix.NFTA_VERDICT_CODE, func(code []byte) {
				switch int32(binary.BigEndian.Uint32(code)) {
				case int32(expr.VerdictDrop):
					f.kind = refused
				case int32(expr.VerdictAccept):
					f.kind = accepted
				case int32(expr.VerdictJump):
					f.kind = jumps
				case int32(expr.VerdictGoto):
					f.kind = goes
				}
			})
			inside(verdict, unix.NFTA_VERDICT_CHAIN, func(name []byte) { f.chain = unix.ByteSliceToString(name) })
		})
	})
	return f
}

func extension(b []byte) (name string) {
	inside(b, unix.NFTA_TARGET_NAME, func(b []byte) { name = unix.ByteSliceToString(b) }) // NFTA_MATCH_NAME has the same number
	return name
}

// inside calls do with each attribute of a type that b holds.
func inside(b []byte, attribute uint16, do func([]byte)) {
	ad, err := mdlayher.NewAttributeDecoder(b)
	for err == nil && ad.Next() {
		if ad.Type() == attribute {
			do(ad.Bytes())
		}
	}
}

// endsIn is what becomes of a packet that no rule of a chain, and of those it always leads to, has a condition for.
func endsIn(rules map[ruleKey][]readRule, chain ruleKey, way []string) fateKind {
	if slices.Contains(way, chain.chain) {
		return undecided
	}
	way = append(way, chain.chain)
	for _, r := range rules[chain] {
		next := ruleKey{chain.table, r.does.chain}
		switch r.does.kind {
		case accepted, refused:
			return r.does.kind
		case jumps:
			if end := endsIn(rules, next, way); end != undecided {
				return end
			}
		case goes:
			return endsIn(rules, next, way)
		}
	}
	return undecided
}
