package reconcile

import (
	"reflect"
	"slices"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/schedule"
)

// upToDate says whether a task is what the service asks for. A spec that differs in Placement alone is, while the
// task's node fits the new placement; a task that still waits for a node would be held to the old one.
func (p *planner) upToDate(it *item) bool {
	if it.SpecID == p.svc.SpecID {
		return true
	}
	same, known := p.current[it.SpecID]
	if !known {
		same = differInPlacement(p.in.Specs(it.SpecID), p.in.Specs(p.svc.SpecID))
		p.current[it.SpecID] = same
	}
	return same && it.assigned() && p.matches(p.svc.SpecID, it.node)
}

func differInPlacement(a, b *cluster.Spec) bool {
	if a == nil || b == nil || a.Task.ForceUpdate != b.Task.ForceUpdate {
		return false
	}
	ta, tb := a.Task, b.Task
	ta.Placement, tb.Placement = nil, nil
	return reflect.DeepEqual(ta, tb) && reflect.DeepEqual(a.HostPorts, b.HostPorts)
}

// displaced says whether a task must leave its node: the node is drained, no longer meets the task's constraints, or the
// service spreads better without it there.
func (p *planner) displaced(it *item) bool {
	return it.node != nil && !it.homed() &&
		(it.Moving || it.node.Spec.Availability == swarm.NodeAvailabilityDrain || !p.matches(it.SpecID, it.node))
}

// best is the task that stands for the slot: what is up to date and well placed before what runs, the older of equals.
func (s *slot) best(p *planner) *item {
	var best *item
	top := -1
	for _, it := range s.items {
		if !it.active() {
			continue
		}
		score := 0
		if good := !p.displaced(it); good && p.upToDate(it) {
			score = 6
		} else if good {
			score = 2
		}
		if it.running() {
			score++
		}
		if score > top {
			best, top = it, score
		}
	}
	return best
}

// dirty says whether the slot is not yet what the service asks for.
func (s *slot) dirty(p *planner) bool {
	it := s.best(p)
	if it == nil {
		it = s.newest()
	}
	return it != nil && !p.upToDate(it)
}

// fill gives a slot what it lacks and takes from it what is too much.
func (p *planner) fill(s *slot, r *rollout) {
	if r.picked[s] {
		return
	}
	p.callOff(s)
	best := s.best(p)
	if best == nil {
		p.refill(s, p.specFor(s, r))
		return
	}
	for _, other := range s.actives() {
		if other != best {
			p.giveWay(s, best, other, r)
		}
	}
	failed := s.newest() != best && s.newest().endedByItself() // the task that was started to replace best
	switch {
	case failed && (p.displaced(best) || s.dirty(p) && r.rolling && r.attempts[s] != nil):
		specID := p.specFor(s, r)
		p.stop(best, swarm.TaskStateShutdown)
		p.refill(s, specID)
	case p.displaced(best) && p.upToDate(best): // whatever an update that is taken back has tried since
		p.replace(s, p.svc.SpecID, r.cfg.Order)
	case p.displaced(best):
		p.replace(s, p.specFor(s, r), r.cfg.Order)
	}
}

// giveWay decides about a second active task in a slot: it stops, unless it is the running one that best, still
// starting, is to take over from (start-first). Where best cannot be placed until other has gone, other goes first.
func (p *planner) giveWay(s *slot, best, other *item, r *rollout) {
	if best.running() || !other.running() {
		p.stop(other, swarm.TaskStateShutdown)
		return
	}
	unplaced := best.Status.Err != "" && cluster.Rank(best.Status.State) <= cluster.Rank(swarm.TaskStatePending)
	frees := best.Status.State == swarm.TaskStateNew || schedule.Frees(best.Status.Err)
	if unplaced && (frees || p.displaced(other)) {
		p.edit(best).DesiredState = swarm.TaskStateReady
		p.stop(other, swarm.TaskStateShutdown)
		r.note(p, s, best.Status.Err)
	}
}

// specFor is the spec of a slot's next task: the service's, or while an update has not come to the slot the one it has.
func (p *planner) specFor(s *slot, r *rollout) string {
	last := s.newest()
	if last == nil || !r.under || p.upToDate(last) || p.in.Specs(last.SpecID) == nil {
		return p.svc.SpecID
	}
	return last.SpecID
}

// replace starts a new task in a slot in the given order of things. false: not now, since start-first would make a third
// beside two that run.
func (p *planner) replace(s *slot, specID string, order swarm.UpdateOrder) bool {
	if s.key.node != "" && !canStart(p.node(s.key.node)) {
		return false
	}
	last := s.newest()
	serving := false
	actives := s.actives()
	if order == swarm.UpdateOrderStartFirst {
		n := 0
		for _, it := range s.items {
			if it.live() && (it.running() || it.asked()) {
				n++
			}
		}
		if n > 1 && slices.ContainsFunc(actives, (*item).running) {
			return false
		}
	}
	for _, it := range actives {
		if order == swarm.UpdateOrderStartFirst && it.running() {
			serving = true
			continue
		}
		p.stop(it, swarm.TaskStateShutdown)
	}
	if serving && slices.ContainsFunc(s.items, func(it *item) bool { return it.live() && it.asked() }) {
		return false // what is stopped only now may have begun to run unheard of
	}
	m := inherit(last, specID)
	if serving {
		p.create(s, specID, m, swarm.TaskStateRunning)
		return true
	}
	p.put(s, specID, m)
	return true
}
