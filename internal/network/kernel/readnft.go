package kernel

import (
	"bytes"
	"encoding/binary"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	mdlayher "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"shoal/internal/network/plan"
)

// readTables reads our tables. Rules come back as their fingerprints, set types not at all: a set is as it was made.
func (k *Kernel) readTables(ns plan.NS, s *space, prefix string, out *plan.Namespace) error {
	conn, err := s.tables()
	if err != nil {
		return err
	}
	tables, err := conn.ListTables()
	if err != nil {
		k.drop(ns)
		return err
	}
	ours := map[plan.TableID]*nftables.Table{}
	for _, t := range tables {
		if ns == plan.HostNS && t.Name != prefix || ns != plan.HostNS && !strings.HasPrefix(t.Name, "shoal") {
			continue
		}
		id := plan.TableID{Family: familyName(t.Family), Name: t.Name}
		ours[id], out.Tables[id] = t, plan.NewTable()
	}
	if len(ours) == 0 {
		return nil
	}
	chains, err := conn.ListChains()
	if err != nil {
		k.drop(ns)
		return err
	}
	rules, err := readRules(s)
	if err != nil {
		return err
	}
	for _, c := range chains {
		id := plan.TableID{Family: familyName(c.Table.Family), Name: c.Table.Name}
		if ours[id] != nil {
			out.Tables[id].Chains[c.Name] = &plan.Chain{Type: string(c.Type), Device: c.Device, Rules: marks(rules[ruleKey{id, c.Name}])}
		}
	}
	for id, t := range ours {
		if err := readSets(conn, t, out.Tables[id]); err != nil {
			k.drop(ns)
			return err
		}
	}
	return nil
}

type ruleKey struct {
	table plan.TableID
	chain string
}

type readRule struct {
	mark   string // its comment
	handle uint64
	does   fate
}

func marks(rules []readRule) (out []plan.RuleText) {
	for _, r := range rules {
		out = append(out, plan.RuleText{Mark: r.mark})
	}
	return out
}

// readRules reads the fingerprints of all rules of a namespace in one go. The library would decode each expression too,
// and fails on those it has no words for.
func readRules(s *space) (map[ruleKey][]readRule, error) {
	conn, err := mdlayher.Dial(unix.NETLINK_NETFILTER, &mdlayher.Config{NetNS: int(s.fd)})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	replies, err := conn.Execute(mdlayher.Message{
		Header: mdlayher.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETRULE, Flags: mdlayher.Request | mdlayher.Dump},
		Data:   []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0},
	})
	if err != nil {
		return nil, err
	}
	out := map[ruleKey][]readRule{}
	for _, m := range replies {
		ad, err := mdlayher.NewAttributeDecoder(m.Data[4:])
		if err != nil {
			return nil, err
		}
		key := ruleKey{table: plan.TableID{Family: familyName(nftables.TableFamily(m.Data[0]))}}
		rule := readRule{mark: "foreign"}
		for ad.Next() {
			switch ad.Type() {
			case unix.NFTA_RULE_TABLE:
				key.table.Name = ad.String()
			case unix.NFTA_RULE_CHAIN:
				key.chain = ad.String()
			case unix.NFTA_RULE_HANDLE:
				rule.handle = binary.BigEndian.Uint64(ad.Bytes())
			case unix.NFTA_RULE_EXPRESSIONS:
				ad.Nested(func(list *mdlayher.AttributeDecoder) error { rule.does = fateOf(list); return nil })
			case unix.NFTA_RULE_USERDATA:
				if text, ok := userdata.GetString(ad.Bytes(), userdata.TypeComment); ok {
					rule.mark = text
				}
			}
		}
		if err := ad.Err(); err != nil {
			return nil, err
		}
		out[key] = append(out[key], rule)
	}
	return out, nil
}

func readSets(conn *nftables.Conn, t *nftables.Table, out *plan.Table) error {
	sets, err := conn.GetSets(t)
	if err != nil {
		return err
	}
	for _, set := range sets {
		elements, err := conn.GetSetElements(set)
		if err != nil {
			return err
		}
		s := &plan.Set{Elements: make(map[string]string, len(elements))}
		for _, e := range elements {
			value := string(e.Val)
			if set.IsMap && set.DataType.Name == nftables.TypeVerdict.Name || isVerdict(e.Val) {
				value = verdictChain(e.Val)
			}
			s.Elements[string(e.Key)] = value
		}
		out.Sets[set.Name] = s
	}
	return nil
}

// isVerdict tells the raw attributes that the library leaves in Val for a verdict map's element: code, then chain.
func isVerdict(b []byte) bool {
	return len(b) > 8 && binary.NativeEndian.Uint16(b) == 8 && binary.NativeEndian.Uint16(b[2:]) == unix.NFTA_VERDICT_CODE
}

func verdictChain(b []byte) string {
	ad, err := mdlayher.NewAttributeDecoder(b)
	if err != nil {
		return ""
	}
	for ad.Next() {
		if ad.Type() == unix.NFTA_VERDICT_CHAIN {
			return string(bytes.TrimRight(ad.Bytes(), "\x00"))
		}
	}
	return ""
}

func familyName(f nftables.TableFamily) string {
	for name, family := range familyByName {
		if family == f {
			return name
		}
	}
	return ""
}
