package reconcile

import (
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// RebalanceLabel is the service label with which a replicated service lets running tasks be replaced on other nodes
// when that spreads them better: "true". Sticky services and those that pack nodes have no use for it.
const RebalanceLabel = "shoal.rebalance"

// rebalanceQuiet is how long no task of the service may have failed before one is moved.
const rebalanceQuiet = 5 * time.Minute

// Rebalances says whether the service asked for its tasks to be spread again.
func Rebalances(svc *cluster.Service) bool {
	return svc != nil && svc.Spec.Mode.Replicated != nil && svc.Spec.Labels[RebalanceLabel] == "true" && svc.Spec.Labels[StickyLabel] == ""
}

// Movable are the tasks of a service that wants it of which some may be moved now ([schedule.Rebalance] chooses), and
// how many at a time: the update's parallelism, or 1 where that is "all". None are movable while an update is under
// way, a slot is not as it should be, or the last change is not older than the update's monitor time and delay; wake
// is when to ask again, zero when the next change will tell. The caller sets Moving on the chosen ones and plans anew.
func Movable(in Input) (tasks []*cluster.Task, most int, wake time.Time) {
	if !Rebalances(in.Service) {
		return nil, 0, time.Time{}
	}
	p := newPlanner(in)
	r := p.readRollout()
	most = int(min(max(r.cfg.Parallelism, 1), 1<<31-1))
	if r.under {
		return nil, 0, time.Time{}
	}
	wait := r.cfg.Monitor + r.cfg.Delay
	ready := true
	for _, s := range p.targets() {
		it := s.quiet(p)
		if it == nil {
			return nil, 0, time.Time{}
		}
		if last := s.lastFailure(); !last.IsZero() {
			ready = p.due(last.Add(rebalanceQuiet)) && ready
		}
		ready = p.due(it.started().Add(wait)) && ready
		tasks = append(tasks, it.Task)
	}
	if !ready {
		return nil, 0, p.plan.Wake
	}
	return tasks, most, time.Time{}
}

// quiet is the one task of a slot in which nothing else is going on; nil: something is, or it is not as it should be.
func (s *slot) quiet(p *planner) *item {
	best := s.best(p)
	if best == nil || !best.running() || best.lost() || best.Moving || p.displaced(best) || !p.upToDate(best) {
		return nil
	}
	for _, it := range s.items {
		if it != best && it.live() {
			return nil
		}
	}
	return best
}

// lastFailure is when a task of the slot last ended by itself; zero: none is remembered.
func (s *slot) lastFailure() (last time.Time) {
	for _, it := range s.items {
		if it.endedByItself() && it.Status.State != swarm.TaskStateComplete && it.Status.Timestamp.After(last) {
			last = it.Status.Timestamp
		}
	}
	return last
}

// callOff ends a move whose new task failed or finds no place: the running one stays. A move costs a service nothing.
func (p *planner) callOff(s *slot) {
	for _, it := range s.items {
		if !it.Moving || !it.active() || !it.running() {
			continue
		}
		next := s.newest()
		refused := next.active() && next.Status.Err != "" && cluster.Rank(next.Status.State) <= cluster.Rank(swarm.TaskStatePending)
		if next == it || !refused && !next.endedByItself() {
			continue
		}
		p.edit(it).Moving = false
		if refused {
			p.stop(next, swarm.TaskStateShutdown)
		}
	}
}
