package reconcile

import (
	"slices"

	"github.com/moby/moby/api/types/swarm"
	"shoal/internal/cluster"
)

// keep names tasks of a slot that stay although they have ended: an update counts by them.
type keep map[*item]bool

// reap deletes the records of ended tasks that the history has no room for, and of removed ones.
func (p *planner) reap(s *slot, k keep) {
	if len(s.actives()) == 0 && s.newest() != nil {
		if k == nil {
			k = keep{}
		}
		k[s.newest()] = true // it says why the slot is empty
	}
	kept := 0
	for _, it := range slices.Backward(s.items) {
		switch {
		case it.deleted:
		case cluster.Rank(it.DesiredState) >= cluster.Rank(swarm.TaskStateRemove) && (it.ended() || it.lost()):
			it.deleted = true
		case !it.ended():
		case p.in.History < 0 || kept < p.in.History:
			kept++
		case k[it]:
		default:
			it.deleted = true
		}
	}
}
