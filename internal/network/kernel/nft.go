package kernel

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"

	"shoal/internal/network/plan"
)

const (
	// The attribute that holds a message's elements has a 16-bit length, which wraps without an error.
	elementsPerMessage = 1000
	// elementsPerFlush bounds one transaction: its messages must fit the socket's buffers. Only the first programming of
	// thousands of services is larger, and nothing relies on that being one step.
	elementsPerFlush = 20000
)

var familyByName = map[string]nftables.TableFamily{
	"ip": nftables.TableFamilyIPv4, "ip6": nftables.TableFamilyIPv6, "inet": nftables.TableFamilyINet, "netdev": nftables.TableFamilyNetdev,
}

var hooks = map[string]*nftables.ChainHook{
	"prerouting": nftables.ChainHookPrerouting, "input": nftables.ChainHookInput, "forward": nftables.ChainHookForward,
	"output": nftables.ChainHookOutput, "postrouting": nftables.ChainHookPostrouting, "egress": nftables.ChainHookEgress,
}

// transact does operations on one namespace's tables as one transaction.
func (k *Kernel) transact(ns plan.NS, ops []plan.Op) error {
	s, err := k.space(ns)
	if err != nil {
		return err
	}
	conn, err := s.tables()
	if err != nil {
		return err
	}
	b := &batch{conn: conn}
	for len(ops) > 0 && err == nil {
		var n int
		n, err = b.queue(ops)
		ops = ops[n:]
		if b.elements >= elementsPerFlush && err == nil {
			b.elements, err = 0, conn.Flush()
		}
	}
	if err == nil {
		err = conn.Flush()
	}
	if err != nil {
		k.drop(ns) // what was queued or is unread must not meet the next transaction
		if errors.Is(err, unix.ENOBUFS) {
			return fmt.Errorf("the outcome is unknown: %w", err)
		}
		return err
	}
	for _, r := range b.zone {
		if err := k.zoneRule(ns, r); err != nil {
			return err
		}
	}
	return nil
}

type batch struct {
	conn     *nftables.Conn
	elements int
	zone     []plan.RuleItem // added one by one, since the library cannot say "original"
}

// queue takes in the first operation, and the elements behind it when it is one.
func (b *batch) queue(ops []plan.Op) (int, error) {
	op := ops[0]
	switch item := op.Item.(type) {
	case plan.TableID:
		if op.Delete {
			b.conn.DelTable(table(item))
		} else {
			b.conn.AddTable(table(item))
		}
	case plan.SetItem:
		if op.Delete {
			b.conn.DelSet(&nftables.Set{Table: table(item.Table), Name: item.Name})
			return 1, nil
		}
		return 1, b.conn.AddSet(setOf(item.Table, item.Name, item.Set), nil)
	case plan.ChainItem:
		if op.Delete {
			b.conn.DelChain(chainOf(item))
		} else {
			b.conn.AddChain(chainOf(item))
		}
	case plan.Flush:
		b.conn.FlushChain(chainOf(plan.ChainItem(item)))
	case plan.RuleItem:
		if isZone(item) {
			b.zone = append(b.zone, item)
			return 1, nil
		}
		b.conn.AddRule(&nftables.Rule{
			Table: table(item.Table), Chain: &nftables.Chain{Name: item.Chain, Table: table(item.Table)},
			Exprs: item.Exprs, UserData: userdata.AppendString(nil, userdata.TypeComment, item.Fingerprint()),
		})
	case plan.Element:
		return b.run(ops)
	}
	return 1, nil
}

// run puts elements of one set into one message.
func (b *batch) run(ops []plan.Op) (int, error) {
	first := ops[0].Item.(plan.Element)
	var elements []nftables.SetElement
	for _, op := range ops[:min(len(ops), elementsPerMessage)] {
		e, ok := op.Item.(plan.Element)
		if !ok || e.Name != first.Name || e.Table != first.Table || op.Delete != ops[0].Delete {
			break
		}
		element := nftables.SetElement{Key: []byte(e.Key)}
		switch {
		case len(e.Set.Data) == 1 && e.Set.Data[0] == plan.Verdict:
			element.VerdictData = &expr.Verdict{Kind: expr.VerdictGoto, Chain: e.Value}
		case len(e.Set.Data) > 0:
			element.Val = []byte(e.Value)
		}
		elements = append(elements, element)
	}
	b.elements += len(elements)
	set := setOf(first.Table, first.Name, first.Set)
	if ops[0].Delete {
		return len(elements), b.conn.SetDeleteElements(set, elements)
	}
	return len(elements), b.conn.SetAddElements(set, elements)
}

func table(id plan.TableID) *nftables.Table {
	return &nftables.Table{Family: familyByName[id.Family], Name: id.Name}
}

func chainOf(item plan.ChainItem) *nftables.Chain {
	c := &nftables.Chain{Table: table(item.Table), Name: item.Name}
	if item.Chain != nil && item.Hook != "" {
		c.Type, c.Hooknum, c.Device = nftables.ChainType(item.Type), hooks[item.Hook], item.Device
		c.Priority = new(nftables.ChainPriority(item.Priority))
	}
	return c
}

var types = map[plan.Type]nftables.SetDatatype{
	plan.IPv4: nftables.TypeIPAddr, plan.IPv6: nftables.TypeIP6Addr, plan.Proto: nftables.TypeInetProto, plan.Port: nftables.TypeInetService,
	plan.Mark: nftables.TypeMark, plan.Ether: nftables.TypeEtherAddr, plan.Verdict: nftables.TypeVerdict, plan.Zone: zoneType(),
}

// zoneType is nft's ct zone: two bytes, in the host's order.
func zoneType() nftables.SetDatatype {
	t := nftables.SetDatatype{Name: "ct_zone", Bytes: 2}
	t.SetNFTMagic(nftables.TypeInteger.GetNFTMagic())
	return t
}

func setOf(id plan.TableID, name string, s *plan.Set) *nftables.Set {
	set := &nftables.Set{Table: table(id), Name: name, KeyType: typeOf(s.Key), Concatenation: len(s.Key) > 1, KeyByteOrder: binaryutil.BigEndian}
	if s.Key[len(s.Key)-1] == plan.Mark {
		set.KeyByteOrder = binaryutil.NativeEndian
	}
	if len(s.Data) > 0 {
		set.IsMap, set.DataType = true, typeOf(s.Data)
	}
	return set
}

func typeOf(parts []plan.Type) nftables.SetDatatype {
	if len(parts) == 1 {
		return types[parts[0]]
	}
	list := make([]nftables.SetDatatype, len(parts))
	for i, p := range parts {
		list[i] = types[p]
	}
	return nftables.MustConcatSetType(list...)
}
