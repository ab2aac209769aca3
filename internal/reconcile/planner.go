package reconcile

import (
	"cmp"
	"slices"
	"sort"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/schedule"
)

// item is one task in the course of a pass: the stored object, or the pass's own changed copy of it.
type item struct {
	*cluster.Task
	node    *cluster.Node // nil: not placed, or its node has been removed
	order   int           // place in the plan: Input.Tasks by age, then the new ones
	created bool          // by this pass
	changed bool
	deleted bool
}

func (it *item) ended() bool   { return cluster.Terminal(it.Status.State) }
func (it *item) running() bool { return it.Status.State == swarm.TaskStateRunning }

// asked says whether the cluster has asked the task to stop.
func (it *item) asked() bool {
	return !it.LeftAt.IsZero() || cluster.Rank(it.DesiredState) >= cluster.Rank(swarm.TaskStateShutdown)
}

// active says whether the task stands for its slot: it runs or will, and nobody has asked it to stop.
func (it *item) active() bool { return !it.ended() && !it.asked() && !it.deleted }

// endedByItself says whether the task ended without being asked to. (DesiredState is SHUTDOWN afterwards in any case.)
func (it *item) endedByItself() bool { return it.ended() && it.LeftAt.IsZero() }

// lost says whether nobody can reach the task: its node is DOWN or has been removed.
func (it *item) lost() bool {
	return it.NodeID != "" && !it.homed() && (it.node == nil || it.node.Status.State == swarm.NodeStateDown)
}

// live says whether the task's container may run on a node that is in reach.
func (it *item) live() bool { return !it.deleted && !it.ended() && !it.lost() }

// started is when the task was first RUNNING; zero: never.
func (it *item) started() time.Time {
	if it.StartedAt.IsZero() && it.running() {
		return it.Status.Timestamp
	}
	return it.StartedAt
}

// slotKey names a slot: a number, or in global modes a node.
type slotKey struct {
	number int
	node   string
}

// slot is all tasks that had or have one slot, oldest first.
type slot struct {
	key   slotKey
	items []*item
}

func (s *slot) newest() *item {
	if len(s.items) == 0 {
		return nil
	}
	return s.items[len(s.items)-1]
}

func (s *slot) actives() []*item {
	var out []*item
	for _, it := range s.items {
		if it.active() {
			out = append(out, it)
		}
	}
	return out
}

// planner is one pass over one service.
type planner struct {
	in      Input
	svc     *cluster.Service // nil: deleted
	copied  bool             // svc is the pass's own
	items   []*item
	slots   map[slotKey]*slot
	keys    []slotKey // of slots, in order
	fits    map[string]func(*cluster.Node) bool
	current map[string]bool // SpecID: counts as up to date wherever its node fits
	drain   time.Duration
	plan    Plan
}

func newPlanner(in Input) *planner {
	p := &planner{in: in, svc: in.Service, slots: map[slotKey]*slot{}, fits: map[string]func(*cluster.Node) bool{}, current: map[string]bool{}}
	p.drain = drainTime(in.Service)
	tasks := slices.Clone(in.Tasks)
	slices.SortFunc(tasks, func(a, b *cluster.Task) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	global := in.Service != nil && isGlobal(in.Service)
	for i, t := range tasks {
		it := &item{Task: t, node: p.node(t.NodeID), order: i}
		p.items = append(p.items, it)
		key := slotKey{number: t.Slot}
		if global {
			key = slotKey{node: t.NodeID}
		}
		s := p.slot(key)
		s.items = append(s.items, it)
	}
	p.sortKeys()
	return p
}

func isGlobal(svc *cluster.Service) bool {
	return svc.Spec.Mode.Global != nil || svc.Spec.Mode.GlobalJob != nil
}

func isJob(svc *cluster.Service) bool {
	return svc.Spec.Mode.ReplicatedJob != nil || svc.Spec.Mode.GlobalJob != nil
}

// node finds a node in the sorted list; nil: none.
func (p *planner) node(id string) *cluster.Node {
	if id == "" {
		return nil
	}
	i := sort.Search(len(p.in.Nodes), func(i int) bool { return p.in.Nodes[i].ID >= id })
	if i == len(p.in.Nodes) || p.in.Nodes[i].ID != id {
		return nil
	}
	return p.in.Nodes[i]
}

// slot is the slot of that key, made when there was none.
func (p *planner) slot(key slotKey) *slot {
	s := p.slots[key]
	if s == nil {
		s = &slot{key: key}
		p.slots[key] = s
		p.keys = append(p.keys, key)
	}
	return s
}

func (p *planner) sortKeys() {
	slices.SortFunc(p.keys, func(a, b slotKey) int { return cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(a.node, b.node)) })
}

// edit makes it changeable and returns the copy.
func (p *planner) edit(it *item) *cluster.Task {
	if !it.changed && !it.created {
		t := *it.Task
		it.Task, it.changed = &t, true
	}
	return it.Task
}

// service makes the service changeable and returns the copy.
func (p *planner) service() *cluster.Service {
	if !p.copied {
		svc := *p.svc
		p.svc, p.copied = &svc, true
	}
	return p.svc
}

// wake asks for a pass at t, unless an earlier one is asked for.
func (p *planner) wake(t time.Time) {
	if p.plan.Wake.IsZero() || t.Before(p.plan.Wake) {
		p.plan.Wake = t
	}
}

// due says whether t has come, and asks for a pass then when it has not.
func (p *planner) due(t time.Time) bool {
	if p.in.Now.Before(t) {
		p.wake(t)
		return false
	}
	return true
}

// matches says whether the spec of that ID allows the node. An unknown spec allows every node.
func (p *planner) matches(specID string, node *cluster.Node) bool {
	if node == nil {
		return true
	}
	m := p.fits[specID]
	if m == nil {
		m = func(*cluster.Node) bool { return true }
		if spec := p.in.Specs(specID); spec != nil {
			m = schedule.Matcher(spec)
		}
		p.fits[specID] = m
	}
	return m(node)
}

// create adds a task to s. It starts at once unless startAfter is to come or an earlier task of the slot may still run.
func (p *planner) create(s *slot, specID string, memory restartMemory, desired swarm.TaskState) {
	t := &cluster.Task{
		ID:           p.in.NewID(),
		Meta:         swarm.Meta{CreatedAt: p.in.Now, UpdatedAt: p.in.Now},
		ServiceID:    p.svc.ID,
		ServiceName:  p.svc.Spec.Name,
		SpecID:       specID,
		Slot:         s.key.number,
		NodeID:       cmp.Or(s.key.node, p.home(s.key.number)),
		DesiredState: desired,
		Status:       swarm.TaskStatus{Timestamp: p.in.Now, State: swarm.TaskStateNew, Message: "created"},
		StartAfter:   memory.startAfter,
		Failures:     memory.failures,
		Restarts:     memory.restarts,
	}
	if p.svc.JobStatus != nil {
		t.JobIteration = p.svc.JobStatus.JobIteration.Index
	}
	it := &item{Task: t, node: p.node(t.NodeID), order: len(p.items), created: true}
	p.items = append(p.items, it)
	s.items = append(s.items, it)
}

// finish collects the plan.
func (p *planner) finish() Plan {
	for _, it := range p.items {
		switch {
		case it.created && it.deleted:
		case it.created:
			p.plan.Create = append(p.plan.Create, it.Task)
		case it.deleted:
			p.plan.Delete = append(p.plan.Delete, it.ID)
		case it.changed:
			p.plan.Update = append(p.plan.Update, it.Task)
		}
	}
	if p.copied {
		p.plan.Service = p.svc
	}
	return p.plan
}
