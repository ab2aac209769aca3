package sim

import (
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// rollouts holds that an update comes to no more slots at once than its parallelism says. A slot is taken when the
// transaction makes a task of the service's spec beside or after a running one of another; it is free again when that
// task has run or ended. Slots that failed by themselves, or whose node went, are not the update's doing.
func (r *rules) rollouts(v store.View, ev store.Event) {
	for _, c := range ev.Changes {
		now := as[cluster.Task](c.New)
		if c.Table != store.Tasks.Name() || c.Old != nil || now == nil || now.Slot == 0 {
			continue
		}
		s := store.Services.Get(v, now.ServiceID)
		if s == nil || now.SpecID != s.SpecID || !r.taken(v, s, now) {
			continue
		}
		cfg := s.Spec.UpdateConfig
		if u := s.UpdateStatus; u != nil && (u.State == swarm.UpdateStateRollbackStarted || u.State == swarm.UpdateStateRollbackPaused) {
			cfg = s.Spec.RollbackConfig
		}
		most := uint64(1)
		if cfg != nil {
			most = cfg.Parallelism
		}
		busy := uint64(0)
		for t := range store.Tasks.By(v, store.TaskService, s.ID) {
			if t.SpecID == s.SpecID && r.taken(v, s, t) {
				busy++
			}
		}
		if most > 0 && busy > most {
			r.w.fail("the update of %s is busy with %d slots at once, %d are allowed", s.Spec.Name, busy, most)
		}
	}
}

// taken says whether the update is at a slot with that task, and has taken a running one away for it.
func (r *rules) taken(v store.View, s *cluster.Service, t *cluster.Task) bool {
	u := s.UpdateStatus
	if u == nil || u.StartedAt == nil || t.CreatedAt.Before(*u.StartedAt) || !t.StartedAt.IsZero() || !t.LeftAt.IsZero() ||
		cluster.Terminal(t.Status.State) || t.Failures > 0 {
		return false
	}
	var before *cluster.Task
	for o := range store.Tasks.By(v, store.TaskService, s.ID) {
		if o.Slot == t.Slot && o.CreatedAt.Before(t.CreatedAt) && (before == nil || before.CreatedAt.Before(o.CreatedAt)) {
			before = o
		}
	}
	return before != nil && before.SpecID != t.SpecID && before.DesiredState != swarm.TaskStateRemove && !before.StartedAt.IsZero() &&
		(!cluster.Terminal(before.Status.State) || !before.LeftAt.IsZero() && before.Status.State == swarm.TaskStateShutdown) &&
		r.stays(before)
}

// stays says whether a task's node would have kept it.
func (r *rules) stays(t *cluster.Task) bool {
	n := r.nodes[t.NodeID]
	return !r.fell[t.ID] && n != nil && n.Status.State == swarm.NodeStateReady && n.Spec.Availability == swarm.NodeAvailabilityActive && !t.Moving
}
