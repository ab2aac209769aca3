package kernel

import (
	"encoding/binary"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"shoal/internal/network/plan"
)

// isZone tells a rule that sets the conntrack zone of the original direction alone, for which google/nftables v0.3.0 has
// no words: it leaves NFTA_CT_DIRECTION out, and a zone of both directions would lose the replies.
func isZone(r plan.RuleItem) bool {
	ct, ok := r.Exprs[len(r.Exprs)-1].(*expr.Ct)
	return ok && ct.Key == expr.CtKeyZONE
}

// zoneRule adds such a rule, in a transaction of its own. Its expressions but the last are written by the library.
func (k *Kernel) zoneRule(ns plan.NS, r plan.RuleItem) error {
	s, err := k.space(ns)
	if err != nil {
		return err
	}
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: int(s.fd)})
	if err != nil {
		return err
	}
	defer conn.Close()
	family := byte(familyByName[r.Table.Family])
	var list []netlink.Attribute
	for _, e := range r.Exprs[:len(r.Exprs)-1] {
		data, err := expr.Marshal(family, e)
		if err != nil {
			return err
		}
		list = append(list, netlink.Attribute{Type: unix.NLA_F_NESTED | unix.NFTA_LIST_ELEM, Data: data})
	}
	register := r.Exprs[len(r.Exprs)-1].(*expr.Ct).Register
	list = append(list, netlink.Attribute{Type: unix.NLA_F_NESTED | unix.NFTA_LIST_ELEM, Data: attributes(
		netlink.Attribute{Type: unix.NFTA_EXPR_NAME, Data: []byte("ct\x00")},
		netlink.Attribute{Type: unix.NLA_F_NESTED | unix.NFTA_EXPR_DATA, Data: attributes(
			netlink.Attribute{Type: unix.NFTA_CT_KEY, Data: big(unix.NFT_CT_ZONE)},
			netlink.Attribute{Type: unix.NFTA_CT_SREG, Data: big(register)},
			netlink.Attribute{Type: unix.NFTA_CT_DIRECTION, Data: []byte{0}},
		)},
	)})
	body := attributes(
		netlink.Attribute{Type: unix.NFTA_RULE_TABLE, Data: []byte(r.Table.Name + "\x00")},
		netlink.Attribute{Type: unix.NFTA_RULE_CHAIN, Data: []byte(r.Chain + "\x00")},
		netlink.Attribute{Type: unix.NLA_F_NESTED | unix.NFTA_RULE_EXPRESSIONS, Data: attributes(list...)},
		netlink.Attribute{Type: unix.NFTA_RULE_USERDATA, Data: userdata.AppendString(nil, userdata.TypeComment, r.Fingerprint())},
	)
	header := func(family byte) []byte { return []byte{family, unix.NFNETLINK_V0, 0, unix.NFNL_SUBSYS_NFTABLES} }
	_, err = conn.SendMessages([]netlink.Message{
		{Header: netlink.Header{Type: unix.NFNL_MSG_BATCH_BEGIN, Flags: netlink.Request}, Data: header(unix.AF_UNSPEC)},
		{
			Header: netlink.Header{
				Type:  unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWRULE,
				Flags: netlink.Request | netlink.Acknowledge | netlink.Create | netlink.Append,
			},
			Data: append([]byte{family, unix.NFNETLINK_V0, 0, 0}, body...),
		},
		{Header: netlink.Header{Type: unix.NFNL_MSG_BATCH_END, Flags: netlink.Request}, Data: header(unix.AF_UNSPEC)},
	})
	if err != nil {
		return err
	}
	_, err = conn.Receive()
	return err
}

func attributes(list ...netlink.Attribute) []byte {
	b, err := netlink.MarshalAttributes(list)
	if err != nil {
		panic(err) // an attribute of ours over 64 KB
	}
	return b
}

func big(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }
