package reconcile

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/moby/moby/api/types/swarm"
)

// defaultMonitor is how long a new task is watched for failure when the update config says nothing.
const defaultMonitor = 5 * time.Second

// rollout is what a pass knows of a running update or rollback.
type rollout struct {
	cfg        swarm.UpdateConfig
	started    time.Time
	under      bool // an update is running or paused
	rolling    bool // it is running
	back       bool // it is a rollback
	rolledBack bool // this pass has turned it into a rollback: nothing else until the next
	attempts   map[*slot]*item
	picked     map[*slot]bool
	untouched  bool // a slot is out of date and the update has not come to it
	noted      string
}

// rollout reads how far the update is, acts on failures, and takes the next slots. Without an update under way and
// with out-of-date slots it starts one.
func (p *planner) rollout(targets []*slot) *rollout {
	r := p.readRollout()
	dirty := p.dirtySlots(targets)
	if !r.under && len(dirty) > 0 {
		now := p.in.Now
		p.service().UpdateStatus = &swarm.UpdateStatus{State: swarm.UpdateStateUpdating, StartedAt: &now, Message: "update in progress"}
		r = p.readRollout()
	}
	if !r.under {
		return r
	}
	total := len(dirty)
	busy, failed := 0, []*item(nil)
	isDirty := map[*slot]bool{}
	for _, s := range dirty {
		isDirty[s] = true
	}
	for _, s := range targets {
		it := r.attempt(p, s)
		if it == nil {
			if !isDirty[s] && s.underWay(p) {
				busy++
			}
			continue
		}
		r.attempts[s] = it
		if !isDirty[s] {
			total++
		}
		if r.failed(it) {
			failed = append(failed, it)
		}
		if !r.passed(it) || !p.due(r.passedAt(it).Add(r.cfg.Delay)) {
			busy++
		}
	}
	r.untouched = slices.ContainsFunc(dirty, func(s *slot) bool { return r.attempts[s] == nil })
	if !r.rolling || p.failure(r, failed, total) {
		return r
	}
	p.pick(r, dirty, busy)
	return r
}

func (p *planner) readRollout() *rollout {
	r := &rollout{attempts: map[*slot]*item{}, picked: map[*slot]bool{}}
	cfg := p.svc.Spec.UpdateConfig
	if u := p.svc.UpdateStatus; u != nil {
		r.rolling = u.State == swarm.UpdateStateUpdating || u.State == swarm.UpdateStateRollbackStarted
		r.under = r.rolling || u.State == swarm.UpdateStatePaused || u.State == swarm.UpdateStateRollbackPaused
		r.back = u.State == swarm.UpdateStateRollbackStarted || u.State == swarm.UpdateStateRollbackPaused
		if u.StartedAt != nil {
			r.started = *u.StartedAt
		}
	}
	if r.back {
		cfg = p.svc.Spec.RollbackConfig
	}
	r.cfg = swarm.UpdateConfig{Parallelism: 1}
	if cfg != nil {
		r.cfg = *cfg
	}
	if r.cfg.Monitor == 0 {
		r.cfg.Monitor = defaultMonitor
	}
	return r
}

func (p *planner) dirtySlots(targets []*slot) []*slot {
	var dirty []*slot
	for _, s := range targets {
		if s.dirty(p) && (s.key.node == "" || canStart(p.node(s.key.node))) {
			dirty = append(dirty, s)
		}
	}
	return dirty
}

// attempt is the task by which this update has come to a slot: the first up-to-date one made since it started, after
// one of another spec, that was not taken away before it could run. nil: the update has not come to the slot.
func (r *rollout) attempt(p *planner, s *slot) *item {
	older := false
	for _, it := range s.items {
		switch {
		case !p.upToDate(it):
			older = true
		case older && !it.CreatedAt.Before(r.started) && (r.passed(it) || it.active()):
			return it
		}
	}
	return nil
}

// underWay says whether the slot is still being brought to the service's spec by an update that this one has replaced
// (a rollback to where the slot is going anyway), or by this one although the node of its new task was lost: it is down,
// and counts as such.
func (s *slot) underWay(p *planner) bool {
	it := s.best(p)
	if it == nil {
		it = s.newest()
	}
	return it != nil && !it.endedByItself() && it.started().IsZero() && it.Failures == 0 &&
		slices.ContainsFunc(s.items, func(older *item) bool { return older.order < it.order && !p.upToDate(older) })
}

// passed says whether a task has run or ended by itself: the update need not wait for it any more.
func (r *rollout) passed(it *item) bool { return !it.started().IsZero() || it.endedByItself() }

func (r *rollout) passedAt(it *item) time.Time {
	if at := it.started(); !at.IsZero() {
		return at
	}
	return it.Status.Timestamp
}

// failed says whether a task ended by itself without having run for the monitor time.
func (r *rollout) failed(it *item) bool {
	return it.endedByItself() && (it.started().IsZero() || it.Status.Timestamp.Sub(it.started()) <= r.cfg.Monitor)
}

// failure acts on failed tasks and says whether the update goes no further in this pass.
func (p *planner) failure(r *rollout, failed []*item, total int) bool {
	if len(failed) == 0 || float32(len(failed))/float32(total) <= r.cfg.MaxFailureRatio || r.cfg.FailureAction == swarm.UpdateFailureActionContinue {
		return false
	}
	first := slices.MinFunc(failed, func(a, b *item) int {
		return cmp.Or(a.Status.Timestamp.Compare(b.Status.Timestamp), cmp.Compare(a.ID, b.ID))
	})
	switch {
	case r.back:
		p.halt(r, swarm.UpdateStateRollbackPaused, fmt.Sprintf("rollback paused due to failure or early termination of task %s", first.ID))
	case r.cfg.FailureAction == swarm.UpdateFailureActionRollback && p.svc.PreviousSpec != nil:
		p.rollBack(r, first.ID)
	case r.cfg.FailureAction == swarm.UpdateFailureActionRollback:
		p.halt(r, swarm.UpdateStatePaused, fmt.Sprintf("update paused due to failure or early termination of task %s: there is no previous spec to roll back to", first.ID))
	default:
		p.halt(r, swarm.UpdateStatePaused, fmt.Sprintf("update paused due to failure or early termination of task %s", first.ID))
	}
	return true
}

// halt stops the update where it is.
func (p *planner) halt(r *rollout, state swarm.UpdateState, message string) {
	u := *p.svc.UpdateStatus
	u.State, u.Message = state, message
	p.service().UpdateStatus = &u
	r.rolling = false
}

// pick lets the update come to as many slots as the parallelism allows, first those that do not run anyway.
func (p *planner) pick(r *rollout, dirty []*slot, busy int) {
	slices.SortStableFunc(dirty, func(a, b *slot) int { return cmp.Compare(a.serving(p), b.serving(p)) })
	for _, s := range dirty {
		if r.attempts[s] != nil {
			continue
		}
		if r.cfg.Parallelism > 0 && busy >= int(min(r.cfg.Parallelism, 1<<31-1)) {
			return
		}
		if p.replace(s, p.svc.SpecID, r.cfg.Order) {
			r.picked[s] = true
			busy++
		}
	}
}

// serving is 1 when the slot has a task that runs, else 0.
func (s *slot) serving(p *planner) int {
	if it := s.best(p); it != nil && it.running() {
		return 1
	}
	return 0
}

// complete ends an update that has come to all slots, whose tasks were watched for the monitor time, and of whose old
// tasks none is left running.
func (p *planner) complete(r *rollout, targets []*slot) {
	if !r.rolling || r.untouched {
		return
	}
	for _, s := range targets {
		if it := r.attempts[s]; it != nil && (!r.passed(it) || !it.ended() && !p.due(r.passedAt(it).Add(r.cfg.Monitor))) {
			return
		}
		if slices.ContainsFunc(s.items, func(it *item) bool { return it.live() && !p.upToDate(it) && canStartOrFree(p, s) }) {
			return
		}
	}
	u := *p.svc.UpdateStatus
	now := p.in.Now
	u.CompletedAt, u.State, u.Message = &now, swarm.UpdateStateCompleted, "update completed"
	if r.back {
		u.State, u.Message = swarm.UpdateStateRollbackCompleted, "rollback completed"
	}
	p.service().UpdateStatus = &u
}

// canStartOrFree says whether the update can ever come to a slot: a paused node keeps what it runs.
func canStartOrFree(p *planner, s *slot) bool {
	return s.key.node == "" || canStart(p.node(s.key.node))
}

// note writes into the update's message that a slot goes stop-first, and why.
func (r *rollout) note(p *planner, s *slot, reason string) {
	if !r.rolling || r.noted != "" {
		return
	}
	what := "update"
	if r.back {
		what = "rollback"
	}
	where := fmt.Sprintf("%s.%d", p.svc.Spec.Name, s.key.number)
	if s.key.node != "" {
		where = p.svc.Spec.Name + " on node " + s.key.node
	}
	r.noted = fmt.Sprintf("%s in progress (%s goes stop-first: %s)", what, where, reason)
	u := *p.svc.UpdateStatus
	u.Message = r.noted
	p.service().UpdateStatus = &u
}

// keep names the ended tasks that the update still counts by.
func (r *rollout) keep(p *planner, s *slot) keep {
	if !r.under {
		return nil
	}
	k := keep{}
	if it := r.attempts[s]; it != nil {
		k[it] = true
	}
	for _, it := range slices.Backward(s.items) {
		if !p.upToDate(it) {
			k[it] = true
			break
		}
	}
	return k
}
