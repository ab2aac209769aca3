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
	for _, c := range chains {
		id := plan.TableID{Family: familyName(c.Table.Family), Name: c.Table.Name}
		if ours[id] == nil {
			continue
		}
		rules, err := conn.GetRules(ours[id], c)
		if err != nil {
			k.drop(ns)
			return err
		}
		chain := &plan.Chain{Type: string(c.Type), Device: c.Device}
		for _, r := range rules {
			mark, _ := userdata.GetString(r.UserData, userdata.TypeComment)
			chain.Rules = append(chain.Rules, plan.RuleText{Mark: mark + orForeign(mark)})
		}
		out.Tables[id].Chains[c.Name] = chain
	}
	for id, t := range ours {
		if err := readSets(conn, t, out.Tables[id]); err != nil {
			k.drop(ns)
			return err
		}
	}
	return nil
}

// orForeign is the fingerprint of a rule that is not ours.
func orForeign(mark string) string {
	if mark == "" {
		return "foreign"
	}
	return ""
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
