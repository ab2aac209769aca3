package reconcile

import (
	"github.com/moby/moby/api/types/swarm"
)

// job runs the tasks of a job's present iteration to their end.
func (p *planner) job() {
	p.iterate()
	for _, it := range p.items {
		p.book(it)
	}
	if isGlobal(p.svc) {
		p.globalJob()
	} else {
		p.replicatedJob()
	}
	for _, key := range p.keys {
		s := p.slots[key]
		p.settle(s)
		p.reap(s, nil)
	}
}

// iterate makes sure that the job has an iteration, and that no task of it has another spec than the job has now.
func (p *planner) iterate() {
	status := p.svc.JobStatus
	if status == nil {
		p.service().JobStatus = &swarm.JobStatus{LastExecution: p.in.Now}
		return
	}
	for _, it := range p.items {
		if it.JobIteration == status.JobIteration.Index && it.SpecID != p.svc.SpecID {
			next := *status
			next.JobIteration.Index++
			next.LastExecution = p.in.Now
			p.service().JobStatus = &next
			return
		}
	}
}

// present says whether a task belongs to the job's present iteration.
func (p *planner) present(it *item) bool {
	return it.JobIteration == p.svc.JobStatus.JobIteration.Index
}

// runs stops what should not run in a slot of a job and says how the slot is: whether a task of the present iteration
// is active, or has completed, or the slot has failed for good.
func (p *planner) runs(s *slot) (active, done, failed bool) {
	var last *item
	for _, it := range s.items {
		if !p.present(it) || it.active() && p.displaced(it) {
			if it.active() {
				p.stop(it, swarm.TaskStateShutdown)
			}
			if !p.present(it) {
				continue
			}
		}
		active = active || it.active()
		done = done || it.Status.State == swarm.TaskStateComplete && it.endedByItself()
		last = it
	}
	if !active && !done && last != nil && last.endedByItself() {
		_, again := p.restart(last, p.svc.SpecID)
		failed = !again
	}
	return active, done, failed
}

// replicatedJob keeps up to MaxConcurrent tasks active until TotalCompletions slots have completed.
func (p *planner) replicatedJob() {
	concurrent, total := jobSize(p.svc.Spec.Mode.ReplicatedJob)
	active, over := 0, 0
	var free []*slot
	for number := 1; number <= total; number++ {
		s := p.slots[slotKey{number: number}]
		if s == nil {
			continue
		}
		switch running, done, failed := p.runs(s); {
		case running:
			active++
		case done, failed:
			over++
		default:
			free = append(free, s)
		}
	}
	p.overflow(total)
	for _, s := range free { // slots that had a task go before slots that never had one
		if active >= concurrent || active+over >= total {
			return
		}
		p.again(s)
		active++
	}
	for number := 1; number <= total && active < concurrent && active+over < total; number++ {
		if p.slots[slotKey{number: number}] == nil {
			p.again(p.slot(slotKey{number: number}))
			active++
		}
	}
}

// overflow clears the slots above the job's number, which an earlier iteration may have had.
func (p *planner) overflow(total int) {
	for _, key := range p.keys {
		if key.number > total {
			for _, it := range p.slots[key].items {
				p.erase(it)
			}
		}
	}
}

// again gives a slot of the job its next task; delays and counts come from its tasks of this iteration alone.
func (p *planner) again(s *slot) {
	if last := s.newest(); last == nil || !p.present(last) {
		p.put(s, p.svc.SpecID, restartMemory{})
		return
	}
	p.refill(s, p.svc.SpecID)
}

func jobSize(job *swarm.ReplicatedJob) (concurrent, total int) {
	concurrent = 1
	if job.MaxConcurrent != nil && *job.MaxConcurrent > 0 {
		concurrent = int(min(*job.MaxConcurrent, 1<<31-1))
	}
	total = concurrent
	if job.TotalCompletions != nil {
		total = int(min(*job.TotalCompletions, 1<<31-1))
	}
	return concurrent, total
}

// globalJob runs the job once on every node that may start it.
func (p *planner) globalJob() {
	eligible := map[string]bool{}
	for _, n := range p.in.Nodes {
		if canStart(n) && p.matches(p.svc.SpecID, n) {
			eligible[n.ID] = true
			p.slot(slotKey{node: n.ID})
		}
	}
	p.sortKeys()
	for _, key := range p.keys {
		s := p.slots[key]
		active, done, failed := p.runs(s)
		switch {
		case p.node(key.node) == nil:
			p.clear(s)
		case !active && !done && !failed && eligible[key.node]:
			p.again(s)
		}
	}
}
