package plan

import (
	"maps"
	"slices"
)

// tables is the nftables part of one namespace. Elements lead to chains and rules to sets, so: sets and chains first,
// then elements and rules, and what is no longer wanted last.
func (d *differ) tables(have, want *Namespace) {
	for _, id := range slices.SortedFunc(maps.Keys(want.Tables), compareTable) {
		h, w := have.Tables[id], want.Tables[id]
		if h == w {
			continue
		}
		if h == nil {
			d.add(id)
			h = NewTable()
		}
		d.table(id, h, w)
	}
	for _, id := range slices.SortedFunc(maps.Keys(have.Tables), compareTable) {
		if want.Tables[id] == nil {
			d.del(id)
		}
	}
}

func (d *differ) table(id TableID, have, want *Table) {
	for _, name := range slices.Sorted(maps.Keys(want.Sets)) {
		if have.Sets[name] == nil {
			d.add(SetItem{id, name, want.Sets[name]})
		}
	}
	var changed []string
	for _, name := range slices.Sorted(maps.Keys(want.Chains)) {
		h, w := have.Chains[name], want.Chains[name]
		if h == nil {
			d.add(ChainItem{id, name, w})
		} else if !sameRules(h.Rules, w.Rules) && len(h.Rules) > 0 {
			d.add(Flush{id, name, w})
		}
		if h == nil || !sameRules(h.Rules, w.Rules) {
			changed = append(changed, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want.Sets)) {
		h := have.Sets[name]
		if h == nil {
			h = &Set{}
		}
		d.elements(id, name, h.Elements, want.Sets[name])
	}
	for _, name := range changed {
		for _, r := range want.Chains[name].Rules {
			d.add(RuleItem{id, name, r})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have.Chains)) {
		if want.Chains[name] == nil {
			d.del(ChainItem{id, name, have.Chains[name]})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have.Sets)) {
		if want.Sets[name] == nil {
			d.del(SetItem{id, name, have.Sets[name]})
		}
	}
}

func sameRules(a, b []RuleText) bool {
	return slices.EqualFunc(a, b, func(a, b RuleText) bool { return a.Fingerprint() == b.Fingerprint() })
}

// elements touches those alone that differ. Deletions come first: a map refuses a second value for a key.
func (d *differ) elements(id TableID, name string, have map[string]string, want *Set) {
	var gone, added []string
	for key, value := range have {
		if w, ok := want.Elements[key]; !ok || w != value {
			gone = append(gone, key)
		}
	}
	for key, value := range want.Elements {
		if h, ok := have[key]; !ok || h != value {
			added = append(added, key)
		}
	}
	slices.Sort(gone)
	slices.Sort(added)
	for _, key := range gone {
		d.del(Element{id, name, want, key, have[key]})
	}
	for _, key := range added {
		d.add(Element{id, name, want, key, want.Elements[key]})
	}
}
