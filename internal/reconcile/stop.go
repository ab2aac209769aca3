package reconcile

import (
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

const (
	// DrainLabel is the service label with the time between leaving load balancing and SIGTERM: "3s"; "0s": at once.
	DrainLabel = "shoal.drain"
	// DrainTime is the drain time of services that have no such label.
	DrainTime = 1500 * time.Millisecond
	// drainPatience is how much longer than the drain time a task waits for nodes that do not say they have applied. On an
	// overloaded machine five were not enough: some led to a task up to four longer, and clients met a closed port.
	drainPatience = 10 * time.Second
	// appliedPoll is how soon to look at Applied again, should nobody call earlier.
	appliedPoll = 200 * time.Millisecond
	// orphanAfter is how long a task may be on a node that is DOWN before it is given up.
	orphanAfter = 24 * time.Hour
)

func drainTime(svc *cluster.Service) time.Duration {
	if svc == nil {
		return 0
	}
	if d, err := time.ParseDuration(svc.Spec.Labels[DrainLabel]); err == nil && d >= 0 {
		return d
	}
	return DrainTime
}

// stop leads a task out: out of load balancing, and when that has been seen everywhere to final, SHUTDOWN or REMOVE.
// It is called again in every pass until the task has ended.
func (p *planner) stop(it *item, final swarm.TaskState) {
	switch {
	case it.deleted:
	case it.created:
		it.deleted = true
	case it.ended():
		p.desire(it, final)
	case cluster.Rank(it.Status.State) < cluster.Rank(swarm.TaskStateAssigned):
		// No node knows the task, so none will report its end.
		t := p.edit(it)
		t.LeftAt = p.in.Now
		t.Status = swarm.TaskStatus{Timestamp: p.in.Now, State: swarm.TaskStateShutdown, Message: "stopped before it was assigned", Err: t.Status.Err}
		p.desire(it, final)
	default:
		if it.LeftAt.IsZero() {
			t := p.edit(it)
			t.LeftAt = p.in.Now
			if p.drains(it) {
				t.LeftIndex = p.in.Index
			}
		}
		if it.LeftIndex == 0 || it.lost() || p.drained(it) {
			p.desire(it, final)
		}
	}
}

// desire raises a task's desired state; it is never lowered.
func (p *planner) desire(it *item, state swarm.TaskState) {
	if cluster.Rank(it.DesiredState) < cluster.Rank(state) {
		p.edit(it).DesiredState = state
	}
}

// drains says whether connections may lead to the task, so that it must leave load balancing before it stops.
func (p *planner) drains(it *item) bool {
	if p.drain == 0 || !it.running() || it.lost() {
		return false
	}
	for _, a := range it.Attachments {
		if len(a.Addresses) > 0 {
			return true
		}
	}
	return false
}

// drained says whether a task that left load balancing may get its SIGTERM.
func (p *planner) drained(it *item) bool {
	over := it.LeftAt.Add(p.drain)
	latest := over.Add(drainPatience)
	if !p.due(over) {
		return false
	}
	if p.in.Applied >= it.LeftIndex || !p.in.Now.Before(latest) {
		return true
	}
	p.wake(p.in.Now.Add(min(appliedPoll, latest.Sub(p.in.Now))))
	return false
}

// book brings a task's record up to what has happened to it: it ran, it ended, its node was lost.
func (p *planner) book(it *item) {
	if it.running() && it.StartedAt.IsZero() {
		p.edit(it).StartedAt = it.Status.Timestamp
	}
	switch {
	case it.ended():
		if !isJob(p.svc) || it.Status.State != swarm.TaskStateComplete {
			p.desire(it, swarm.TaskStateShutdown)
		}
	case it.lost():
		p.abandon(it)
	}
}

// abandon gives up a task that is out of reach. Its record stays, for `node ps` and for the node's return, until the
// node has been removed or was away for a day.
func (p *planner) abandon(it *item) {
	if it.LeftAt.IsZero() {
		p.edit(it).LeftAt = p.in.Now
	}
	p.desire(it, swarm.TaskStateShutdown)
	if it.node != nil && !p.due(it.LeftAt.Add(orphanAfter)) {
		return
	}
	t := p.edit(it)
	t.Status.Timestamp, t.Status.State = p.in.Now, swarm.TaskStateOrphaned
	t.Status.Message = "node has been removed"
	if it.node != nil {
		t.Status.Message = "node has been unreachable for too long"
	}
}

// removed takes down what a deleted service has left.
func (p *planner) removed() {
	for _, it := range p.items {
		p.erase(it)
	}
}

// erase stops a task and deletes its record as soon as nothing can run of it.
func (p *planner) erase(it *item) {
	p.stop(it, swarm.TaskStateRemove)
	if it.ended() || it.lost() {
		it.deleted = true
	}
}

// clear empties a slot that should not be.
func (p *planner) clear(s *slot) {
	gone := s.key.node == "" || p.node(s.key.node) == nil
	for _, it := range s.items {
		if gone {
			p.erase(it) // a slot number may come back, and must not find the old one's memory
		} else {
			p.stop(it, swarm.TaskStateShutdown)
		}
	}
	if !gone {
		p.reap(s, keep{})
	}
}
