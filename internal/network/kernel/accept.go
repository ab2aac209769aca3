package kernel

import (
	"encoding/binary"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"

	"shoal/internal/network/plan"
)

// Accept lets our uplinks through other tables' forward chains that refuse what they do not know, as Docker's, ufw's and
// firewalld's do: an accept in a table of ours, at any priority, does not save a packet from another's drop. Two rules at the
// head of each such chain, in the place of any of ours that are there; with on false they are only removed. Chains of
// iptables-legacy are not nftables' and not seen. It returns the tables that refuse and that nobody but their owner may
// change (nft's flag "owner").
func (k *Kernel) Accept(prefix string, on bool) (shut []string, err error) {
	s, err := k.space(plan.HostNS)
	if err != nil {
		return nil, err
	}
	conn, err := s.tables()
	if err != nil {
		return nil, err
	}
	chains, err := conn.ListChains()
	if err != nil {
		k.drop(plan.HostNS)
		return nil, err
	}
	mark := "shoal:accept:" + prefix
	var rules map[ruleKey][]readRule
	var owned map[plan.TableID]bool
	changed := false
	for _, c := range chains {
		if c.Hooknum == nil || *c.Hooknum != *nftables.ChainHookForward || c.Type != nftables.ChainTypeFilter || c.Table.Name == prefix ||
			c.Table.Family == nftables.TableFamilyBridge {
			continue
		}
		if rules == nil {
			if rules, err = readRules(s); err != nil {
				return nil, err
			}
			if owned, err = ownedTables(conn); err != nil {
				k.drop(plan.HostNS)
				return nil, err
			}
		}
		id := plan.TableID{Family: familyName(c.Table.Family), Name: c.Table.Name}
		list := rules[ruleKey{id, c.Name}]
		refuses := c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop || endsIn(rules, ruleKey{id, c.Name}, nil) == refused
		switch {
		case owned[id]:
			if refuses {
				shut = append(shut, id.Family+" "+id.Name)
			}
			continue
		case on && refuses && len(list) >= 2 && list[0].mark == mark && list[1].mark == mark:
			continue
		}
		for _, r := range list {
			if r.mark == mark {
				changed = true
				if err := conn.DelRule(&nftables.Rule{Table: c.Table, Chain: c, Handle: r.handle}); err != nil {
					return nil, err
				}
			}
		}
		if !on || !refuses {
			continue
		}
		changed = true
		for _, key := range []expr.MetaKey{expr.MetaKeyIIFNAME, expr.MetaKeyOIFNAME} {
			conn.InsertRule(&nftables.Rule{Table: c.Table, Chain: c, UserData: userdata.AppendString(nil, userdata.TypeComment, mark), Exprs: []expr.Any{
				&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte(prefix + "-")}, &expr.Verdict{Kind: expr.VerdictAccept},
			}})
		}
	}
	if !changed {
		return shut, nil
	}
	if err := conn.Flush(); err != nil {
		k.drop(plan.HostNS)
		return nil, err
	}
	return shut, nil
}

// ownedTables are those with the flag "owner" (NFT_TABLE_F_OWNER, which golang.org/x/sys does not name). The library leaves the
// flags in the network's order.
func ownedTables(conn *nftables.Conn) (map[plan.TableID]bool, error) {
	owner := binary.NativeEndian.Uint32([]byte{0, 0, 0, 2})
	list, err := conn.ListTables()
	out := map[plan.TableID]bool{}
	for _, t := range list {
		if t.Flags&owner != 0 {
			out[plan.TableID{Family: familyName(t.Family), Name: t.Name}] = true
		}
	}
	return out, err
}
