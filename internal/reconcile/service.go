package reconcile

import (
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// Input is all that a plan for one service depends on. Nothing in it is changed.
type Input struct {
	// Service is the stored service; nil when it has been deleted and only tasks are left.
	Service *cluster.Service
	// Specs finds an interned spec; nil when there is none of that ID.
	Specs func(id string) *cluster.Spec
	// Tasks are all tasks of the service, in any order.
	Tasks []*cluster.Task
	// Nodes are all nodes of the cluster in the order of their IDs.
	Nodes []*cluster.Node
	// History is how many ended tasks a slot keeps (--task-history-limit); below 0: all.
	History int
	// Applied is the lowest index of the network state that all READY nodes have applied.
	Applied uint64
	// Index is the store index that the commit of the plan will have; it becomes LeftIndex of tasks that leave load
	// balancing.
	Index uint64
	// Now is the time of the pass; not later than the commit's own time, which becomes CreatedAt of what is created.
	Now   time.Time
	NewID func() string
}

// Plan is what should be committed, as one transaction. Everything in it is new or a changed copy.
type Plan struct {
	// Create are new tasks: state NEW, in global modes with a NodeID (to be checked by schedule), else without.
	Create []*cluster.Task
	// Update are changed copies of Input.Tasks: DesiredState, LeftAt, LeftIndex, StartedAt, and Status only for tasks
	// that no node will report on.
	Update []*cluster.Task
	// Delete are the IDs of tasks whose record is no longer needed.
	Delete []string
	// Service is a changed copy of the service (UpdateStatus, JobStatus, the specs after an automatic rollback); nil:
	// as it was.
	Service *cluster.Service
	// Wake is when to look again even if nothing has changed; zero: no need.
	Wake time.Time
	// Settled says that tasks of the service may come any nearer to running, and their nodes be UNKNOWN for a while,
	// without need for another look: that is due when a task ends, when anything else about tasks, service or nodes
	// changes, and at Wake. A service that follows nodes must still be looked at when one is UNKNOWN or READY.
	Settled bool
}

// Status is the update status that the plan sets; nil: as it was.
func (p *Plan) Status() *swarm.UpdateStatus {
	if p.Service == nil {
		return nil
	}
	return p.Service.UpdateStatus
}

// Empty says whether there is nothing to commit.
func (p *Plan) Empty() bool {
	return len(p.Create) == 0 && len(p.Update) == 0 && len(p.Delete) == 0 && p.Service == nil
}

// Service says what one service needs next. It reads only in, and costs O(tasks of the service), in global modes plus
// O(nodes).
func Service(in Input) Plan {
	p := newPlanner(in)
	switch {
	case in.Service == nil:
		p.svc = nil
		p.removed()
	case isJob(in.Service):
		p.job()
	default:
		p.serve()
	}
	p.plan.Settled = p.settled()
	return p.finish()
}

// serve keeps a replicated or global service as it should be.
func (p *planner) serve() {
	for _, it := range p.items {
		p.book(it)
	}
	targets := p.targets()
	wanted := make(map[*slot]bool, len(targets))
	for _, s := range targets {
		wanted[s] = true
	}
	for _, key := range p.keys {
		if s := p.slots[key]; !wanted[s] {
			p.clear(s)
		}
	}
	p.settleHomes()
	r := p.rollout(targets)
	if !r.rolledBack {
		for _, s := range targets {
			p.fill(s, r)
		}
		p.complete(r, targets)
	}
	for _, s := range targets {
		p.settle(s)
		p.reap(s, r.keep(p, s))
	}
}

// settle moves the tasks of a slot on that wait for something: to leave, or to start.
func (p *planner) settle(s *slot) {
	for _, it := range s.items {
		if it.asked() && !it.ended() {
			p.stop(it, swarm.TaskStateShutdown)
		}
	}
	p.promote(s)
}
