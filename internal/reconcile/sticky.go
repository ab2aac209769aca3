package reconcile

import (
	"maps"
	"slices"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// StickyLabel is the service label that ties each slot of a replicated service to the node it was first placed on, so
// that a volume of its own ({{.Task.Slot}} in its name) is there again: "true" keeps the slot on the node for as long as
// that is in the cluster, and PENDING while it is down, drained or does not fit; "while-up" lets the slot move then. Any
// other value, and none, ties nothing.
const StickyLabel = "shoal.sticky"

const (
	stickyAlways  = "true"
	stickyWhileUp = "while-up"
)

func (p *planner) sticky() string {
	if p.svc == nil || p.svc.Spec.Mode.Replicated == nil {
		return ""
	}
	switch v := p.svc.Spec.Labels[StickyLabel]; v {
	case stickyAlways, stickyWhileUp:
		return v
	}
	return ""
}

// home is the node that a new task of the slot must go to; "": any.
func (p *planner) home(number int) string {
	mode := p.sticky()
	if mode == "" {
		return ""
	}
	id := p.svc.Homes[number]
	n := p.node(id)
	if n == nil || mode == stickyWhileUp && !(canStart(n) && p.matches(p.svc.SpecID, n)) {
		return ""
	}
	return id
}

// settleHomes remembers where the slots are, sends waiting tasks where their home is now, and forgets all of it for a
// service that is no longer sticky.
func (p *planner) settleHomes() {
	if p.sticky() == "" {
		if len(p.svc.Homes) > 0 {
			p.service().Homes = nil
		}
		return
	}
	homes := p.svc.Homes
	for _, key := range p.keys { // those on their way out too: they may come back
		it := p.slots[key].placed()
		if it == nil || it.node == nil || homes[key.number] == it.NodeID {
			continue
		}
		if homes = maps.Clone(homes); homes == nil {
			homes = map[int]string{}
		}
		homes[key.number] = it.NodeID
		p.service().Homes = homes
	}
	for _, it := range p.items {
		if it.active() && !it.assigned() {
			if home := p.home(it.Slot); home != it.NodeID {
				p.edit(it).NodeID = home
				it.node = p.node(home)
			}
		}
	}
}

// placed is the slot's newest task that a node was told of, whatever became of it.
func (s *slot) placed() *item {
	for _, v := range slices.Backward(s.items) {
		if it := v; it.assigned() && it.NodeID != "" {
			return it
		}
	}
	return nil
}

// assigned says whether a node was told of the task: before that, NodeID is only where it must go.
func (it *item) assigned() bool {
	return cluster.Rank(it.Status.State) >= cluster.Rank(swarm.TaskStateAssigned)
}

// homed says whether the task waits for the node of its slot.
func (it *item) homed() bool { return it.Slot > 0 && it.NodeID != "" && !it.assigned() }
