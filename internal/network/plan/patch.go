package plan

import "maps"

// Patch brings a whole namespace from what one part of it was to what that part is. Diff(old, now) is what the kernel
// needs for the same. Tables that are in whole are changed in place, so they must be whole's alone.
func Patch(whole, old, now *Namespace) {
	patch(whole.Links, old.Links, now.Links)
	patch(whole.Addrs, old.Addrs, now.Addrs)
	patch(whole.Routes, old.Routes, now.Routes)
	patch(whole.Rules, old.Rules, now.Rules)
	patch(whole.Neighs, old.Neighs, now.Neighs)
	patch(whole.FDB, old.FDB, now.FDB)
	maps.Copy(whole.Sysctls, now.Sysctls)
	if now.Peers != nil && whole.Peers != nil {
		patch(whole.Peers, old.Peers, now.Peers)
		patch(whole.Allowed, old.Allowed, now.Allowed)
	}
	for id := range old.Tables {
		if now.Tables[id] == nil {
			delete(whole.Tables, id)
		}
	}
	for id, t := range now.Tables {
		was, is := old.Tables[id], whole.Tables[id]
		if was == nil || is == nil {
			whole.Tables[id] = t
			continue
		}
		for name := range was.Chains {
			if t.Chains[name] == nil {
				delete(is.Chains, name)
			}
		}
		maps.Copy(is.Chains, t.Chains)
		for name, set := range t.Sets {
			if is.Sets[name] == nil || was.Sets[name] == nil {
				is.Sets[name] = set
				continue
			}
			patch(is.Sets[name].Elements, was.Sets[name].Elements, set.Elements)
		}
	}
}

func patch[K, V comparable](whole, old, now map[K]V) {
	for k := range old {
		if _, stays := now[k]; !stays {
			delete(whole, k)
		}
	}
	for k, v := range now {
		if was, had := old[k]; !had || was != v {
			whole[k] = v
		}
	}
}
