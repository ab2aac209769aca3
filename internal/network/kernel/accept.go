package kernel

import (
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"

	"shoal/internal/network/plan"
)

// Accept lets our uplinks through other tables' forward chains that drop by default, as Docker's and ufw's do: an accept
// in a table of ours, at any priority, does not save a packet from another's drop. Two rules at the head of each such
// chain, in the place of any of ours that are there; with on false they are only removed. Chains of iptables-legacy are
// not nftables' and not seen.
func (k *Kernel) Accept(prefix string, on bool) error {
	s, err := k.space(plan.HostNS)
	if err != nil {
		return err
	}
	conn, err := s.tables()
	if err != nil {
		return err
	}
	chains, err := conn.ListChains()
	if err != nil {
		k.drop(plan.HostNS)
		return err
	}
	mark := "shoal:accept:" + prefix
	var rules map[ruleKey][]readRule
	changed := false
	for _, c := range chains {
		if c.Hooknum == nil || *c.Hooknum != *nftables.ChainHookForward || c.Type != nftables.ChainTypeFilter || c.Table.Name == prefix ||
			c.Table.Family == nftables.TableFamilyBridge {
			continue
		}
		if rules == nil {
			if rules, err = readRules(s); err != nil {
				return err
			}
		}
		list := rules[ruleKey{plan.TableID{Family: familyName(c.Table.Family), Name: c.Table.Name}, c.Name}]
		drops := c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop
		if on && drops && len(list) >= 2 && list[0].mark == mark && list[1].mark == mark {
			continue
		}
		for _, r := range list {
			if r.mark == mark {
				changed = true
				if err := conn.DelRule(&nftables.Rule{Table: c.Table, Chain: c, Handle: r.handle}); err != nil {
					return err
				}
			}
		}
		if !on || !drops {
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
		return nil
	}
	if err := conn.Flush(); err != nil {
		k.drop(plan.HostNS)
		return err
	}
	return nil
}
