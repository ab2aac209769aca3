package reconcile

import "github.com/moby/moby/api/types/swarm"

// settled says whether nothing of the plan hangs on how far tasks have come that have not ended: every task that may run
// is the only one of its slot, is what the service asks for, is where it may be and should run, and no update is under
// way. What is planned then stays planned until a task ends or something else than the progress of tasks changes.
func (p *planner) settled() bool {
	if p.svc == nil || isJob(p.svc) || p.sticky() != "" || Rebalances(p.svc) || !updateIsOver(p.svc.UpdateStatus) {
		return false
	}
	for _, key := range p.keys {
		one := false
		for _, it := range p.slots[key].items {
			if it.deleted || it.ended() {
				continue
			}
			if one || !it.active() || it.DesiredState != swarm.TaskStateRunning || it.lost() || p.displaced(it) || !p.upToDate(it) {
				return false
			}
			one = true
		}
	}
	return true
}

func updateIsOver(u *swarm.UpdateStatus) bool {
	return u == nil || u.State == "" || u.State == swarm.UpdateStateCompleted || u.State == swarm.UpdateStateRollbackCompleted
}
