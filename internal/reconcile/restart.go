package reconcile

import (
	"slices"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

const (
	defaultRestartDelay = 5 * time.Second
	// maxBackoff bounds the doubling of the restart delay. A delay that is longer by itself stays as it is.
	maxBackoff = 5 * time.Minute
	// leastBackoff is what a delay of 0 becomes from the second failure in a row on.
	leastBackoff = 100 * time.Millisecond
	// steady is how long a task must have run for its end to count as the first failure again.
	steady = time.Minute
)

// restartMemory is what a replacement inherits of its slot's past.
type restartMemory struct {
	startAfter time.Time
	failures   int
	restarts   []time.Time
}

// inherit is the memory that passes on when a task is replaced for no fault of its own: no delay, nothing counted.
func inherit(last *item, specID string) restartMemory {
	if last == nil || last.SpecID != specID {
		return restartMemory{}
	}
	return restartMemory{failures: last.Failures, restarts: last.Restarts}
}

// restart decides about a slot whose newest task ended by itself: the memory of its replacement, or false for none.
func (p *planner) restart(last *item, specID string) (restartMemory, bool) {
	policy := p.policy(specID)
	failed := last.Status.State != swarm.TaskStateComplete
	switch policy.Condition {
	case swarm.RestartPolicyConditionNone:
		return restartMemory{}, false
	case swarm.RestartPolicyConditionOnFailure:
		if !failed {
			return restartMemory{}, false
		}
	}
	if isJob(p.svc) && !failed {
		return restartMemory{}, false
	}
	m := restartMemory{failures: 1}
	if last.SpecID == specID {
		m.restarts = last.Restarts
	}
	if ran := last.started(); last.SpecID == specID && (ran.IsZero() || last.Status.Timestamp.Sub(ran) < steady) {
		m.failures = last.Failures + 1
	}
	if most := policy.MaxAttempts; most != nil && *most > 0 {
		if attempts(m.restarts, last.Status.Timestamp, policy.Window) >= *most {
			return restartMemory{}, false
		}
		m.restarts = append(slices.Clone(m.restarts), p.in.Now)
		if extra := len(m.restarts) - int(min(*most, 1<<16)); extra > 0 {
			m.restarts = m.restarts[extra:]
		}
	}
	if d := backoff(policy.Delay, m.failures); d > 0 {
		m.startAfter = p.in.Now.Add(d)
	}
	return m, true
}

// attempts counts the restarts in the window before end; no window: all.
func attempts(restarts []time.Time, end time.Time, window *time.Duration) uint64 {
	if window == nil || *window <= 0 {
		return uint64(len(restarts))
	}
	n := uint64(0)
	for _, r := range restarts {
		if r.After(end.Add(-*window)) {
			n++
		}
	}
	return n
}

// backoff doubles the delay with each failure in a row after the first.
func backoff(delay *time.Duration, failures int) time.Duration {
	d := defaultRestartDelay
	if delay != nil {
		d = *delay
	}
	if d >= maxBackoff {
		return d
	}
	if d <= 0 { // at once the first time; but no crash loop may keep the whole cluster busy
		if failures <= 1 {
			return 0
		}
		d, failures = leastBackoff, failures-1
	}
	for i := 1; i < failures && d < maxBackoff; i++ {
		d *= 2
	}
	return min(d, maxBackoff)
}

// policy is the restart policy of a spec; "any" without one.
func (p *planner) policy(specID string) swarm.RestartPolicy {
	if spec := p.in.Specs(specID); spec != nil && spec.Task.RestartPolicy != nil {
		return *spec.Task.RestartPolicy
	}
	return swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionAny}
}

// refill gives a slot without an active task a new one, unless its restart policy says that it has had enough.
func (p *planner) refill(s *slot, specID string) {
	last := s.newest()
	m := inherit(last, specID)
	if last != nil && last.endedByItself() {
		// It was prepared ahead and failed in the delay before its start: the delay stands, or it would be prepared
		// without end.
		if last.SpecID == specID && !p.due(last.StartAfter) {
			return
		}
		again := false
		if m, again = p.restart(last, specID); !again {
			return
		}
	}
	p.put(s, specID, m)
}

// put creates a task in s that starts when what was there before has ended and its delay is over.
func (p *planner) put(s *slot, specID string, m restartMemory) {
	if s.key.node != "" && !canStart(p.node(s.key.node)) {
		return
	}
	desired := p.run()
	if m.startAfter.After(p.in.Now) || p.occupied(s, nil) {
		desired = swarm.TaskStateReady
	}
	if m.startAfter.After(p.in.Now) {
		p.wake(m.startAfter)
	}
	p.create(s, specID, m, desired)
}

// run is the desired state of a task that should do its work.
func (p *planner) run() swarm.TaskState {
	if isJob(p.svc) {
		return swarm.TaskStateComplete
	}
	return swarm.TaskStateRunning
}

// occupied says whether a task of the slot other than and older than it may still run in reach; it nil: any. At home,
// where it has a volume in common with the slot's next, a task may run out of reach too.
func (p *planner) occupied(s *slot, it *item) bool {
	home := p.home(s.key.number)
	for _, other := range s.items {
		if other == it {
			return false
		}
		if other.live() || home != "" && other.NodeID == home && !other.ended() && !other.deleted {
			return true
		}
	}
	return false
}

// promote lets tasks that were held at READY start.
func (p *planner) promote(s *slot) {
	for _, it := range s.items {
		if it.active() && it.DesiredState == swarm.TaskStateReady && !p.occupied(s, it) && p.due(it.StartAfter) && !it.created {
			p.edit(it).DesiredState = p.run()
		}
	}
}

// canStart says whether new tasks may be put on a node.
func canStart(n *cluster.Node) bool {
	return n != nil && n.Status.State == swarm.NodeStateReady &&
		(n.Spec.Availability == swarm.NodeAvailabilityActive || n.Spec.Availability == "")
}
