package reconcile

import (
	"fmt"

	"github.com/moby/moby/api/types/swarm"
)

// rollBack returns the service to its previous spec, replicas included, as Docker does. The next pass starts to bring
// the tasks back; those that still have the old spec stay as they are.
func (p *planner) rollBack(r *rollout, failed string) {
	svc := p.service()
	svc.Spec, svc.PreviousSpec = *svc.PreviousSpec, nil
	svc.SpecID, svc.PreviousSpecID = svc.PreviousSpecID, ""
	now := p.in.Now
	svc.UpdateStatus = &swarm.UpdateStatus{
		State:     swarm.UpdateStateRollbackStarted,
		StartedAt: &now,
		Message:   fmt.Sprintf("update rolled back due to failure or early termination of task %s", failed),
	}
	r.rolling, r.rolledBack = false, true
	p.wake(p.in.Now)
}
