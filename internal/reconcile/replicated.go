package reconcile

import (
	"cmp"
	"slices"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// targets are the slots that the service should have, in order; new ones are empty.
func (p *planner) targets() []*slot {
	if isGlobal(p.svc) {
		return p.globalTargets()
	}
	replicas := 1
	if r := p.svc.Spec.Mode.Replicated; r != nil && r.Replicas != nil {
		replicas = int(min(*r.Replicas, 1<<31-1))
	}
	var have []*slot
	for _, key := range p.keys {
		if s := p.slots[key]; s.exists() {
			have = append(have, s)
		}
	}
	if len(have) > replicas {
		p.rankForRemoval(have)
		have = have[len(have)-replicas:]
	}
	taken := make(map[int]bool, replicas)
	for _, s := range have {
		taken[s.key.number] = true
	}
	for number := 1; len(have) < replicas; number++ {
		if !taken[number] {
			have = append(have, p.slot(slotKey{number: number}))
		}
	}
	slices.SortFunc(have, func(a, b *slot) int { return cmp.Compare(a.key.number, b.key.number) })
	return have
}

// exists says whether the slot holds more than what a scale-down has left to be removed.
func (s *slot) exists() bool {
	return slices.ContainsFunc(s.items, func(it *item) bool {
		return cluster.Rank(it.DesiredState) < cluster.Rank(swarm.TaskStateRemove)
	})
}

// rankForRemoval sorts slots, the first to be dropped first: those that are leaving already, those that do not run,
// then from the nodes with most of the service's tasks, then the higher numbers.
func (p *planner) rankForRemoval(slots []*slot) {
	type rank struct{ class, depth int }
	ranks := make(map[*slot]rank, len(slots))
	onNode := map[string]int{}
	for _, s := range slots { // in order of their numbers
		switch it := s.best(p); {
		case it == nil && s.newest().endedByItself():
			ranks[s] = rank{class: 1}
		case it == nil:
			ranks[s] = rank{class: 0}
		case !it.running():
			ranks[s] = rank{class: 1}
		default:
			onNode[it.NodeID]++
			ranks[s] = rank{class: 2, depth: onNode[it.NodeID]}
		}
	}
	slices.SortFunc(slots, func(a, b *slot) int {
		ra, rb := ranks[a], ranks[b]
		return cmp.Or(cmp.Compare(ra.class, rb.class), cmp.Compare(rb.depth, ra.depth), cmp.Compare(b.key.number, a.key.number))
	})
}

// globalTargets has a slot for each node that should run the service: those that can start it, and those that may keep
// it (paused, or not heard of lately).
func (p *planner) globalTargets() []*slot {
	var out []*slot
	for _, n := range p.in.Nodes {
		key := slotKey{node: n.ID}
		s := p.slots[key]
		stays := n.Status.State != swarm.NodeStateDown && n.Spec.Availability != swarm.NodeAvailabilityDrain
		if !stays || !p.matches(p.svc.SpecID, n) {
			continue
		}
		if canStart(n) || s != nil && len(s.actives()) > 0 {
			out = append(out, p.slot(key))
		}
	}
	return out
}
