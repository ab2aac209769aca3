package manager

import (
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/allocate"
	"shoal/internal/cluster"
	"shoal/internal/controlplane"
	"shoal/internal/reconcile"
	"shoal/internal/schedule"
	"shoal/internal/store"
)

// pass is one look at some services inside one transaction.
type pass struct {
	tx      *store.Tx
	log     *slog.Logger
	applied uint64
	history int
	nodes   []*cluster.Node

	waiting  []*cluster.Task // own copies of tasks that need an address or a node
	changed  map[*cluster.Task]bool
	reaped   []string // spec IDs that a deleted task named
	wake     map[string]time.Time
	starved  map[string]bool
	draining map[string]bool
	settled  map[string]bool
}

func newPass(tx *store.Tx, applied uint64, log *slog.Logger) *pass {
	return &pass{
		tx: tx, log: log, applied: applied, history: historyLimit(store.ClusterOf(tx)),
		nodes: slices.Collect(store.Nodes.All(tx)), changed: map[*cluster.Task]bool{},
		wake: map[string]time.Time{}, starved: map[string]bool{}, draining: map[string]bool{}, settled: map[string]bool{},
	}
}

// run reconciles the services, then gives addresses and nodes to what they lack, and at last moves tasks of those that
// want to be spread again.
func (p *pass) run(services []string) error {
	for _, id := range services {
		p.reconcile(id)
	}
	p.provide()
	p.rebalance(services)
	p.wakeRested()
	for _, id := range p.reaped {
		controlplane.DropUnusedSpec(p.tx, id)
	}
	controlplane.DropLeavingNetworks(p.tx)
	return nil
}

// provide gives addresses and nodes to the waiting tasks.
func (p *pass) provide() {
	if len(p.waiting) == 0 {
		return
	}
	p.allocate()
	p.place()
	for _, t := range p.waiting {
		if p.changed[t] { // writing an unchanged task would wake the next pass for nothing, without end
			store.Tasks.Put(p.tx, t)
		}
	}
	p.waiting = nil
}

func (p *pass) spec(id string) *cluster.Spec { return store.Specs.Get(p.tx, id) }

// input is what reconcile reads of a service now.
func (p *pass) input(id string) reconcile.Input {
	return reconcile.Input{
		Service: store.Services.Get(p.tx, id), Specs: p.spec, Tasks: slices.Collect(store.Tasks.By(p.tx, store.TaskService, id)),
		Nodes: p.nodes, History: p.history, Applied: p.applied, Index: p.tx.Index(), Now: p.tx.Now(), NewID: cluster.NewID,
	}
}

func (p *pass) reconcile(id string) {
	in := p.input(id)
	plan := reconcile.Service(in)
	changed := make(map[string]*cluster.Task, len(plan.Update)+len(plan.Delete))
	for _, t := range plan.Update {
		store.Tasks.Put(p.tx, t)
		changed[t.ID] = t
	}
	for _, gone := range plan.Delete {
		if t := store.Tasks.Get(p.tx, gone); t != nil {
			p.reaped = append(p.reaped, t.SpecID)
			store.Tasks.Delete(p.tx, gone)
		}
		changed[gone] = nil
	}
	if plan.Service != nil {
		store.Services.Put(p.tx, plan.Service)
	}
	if !plan.Empty() {
		p.log.Debug("plan", "service", id, "create", len(plan.Create), "update", len(plan.Update), "delete", len(plan.Delete))
	}
	p.wake[id], p.settled[id] = plan.Wake, plan.Settled
	for _, t := range in.Tasks {
		if now, ok := changed[t.ID]; ok {
			t = now
		}
		if t != nil {
			p.look(t)
		}
	}
	for _, t := range plan.Create {
		p.look(t)
	}
}

// look notes a task that lacks something or waits for the nodes.
func (p *pass) look(t *cluster.Task) {
	if t.LeftIndex > p.applied && !cluster.Terminal(t.Status.State) {
		p.draining[t.ServiceID] = true
	}
	if cluster.Rank(t.Status.State) < cluster.Rank(swarm.TaskStateAssigned) && cluster.Rank(t.DesiredState) <= cluster.Rank(swarm.TaskStateComplete) {
		own := *t
		p.waiting = append(p.waiting, &own)
	}
}

// allocate gives each waiting task its addresses and ports. One that gets none stays NEW and says why.
func (p *pass) allocate() {
	var pools allocate.Config
	if c := store.ClusterOf(p.tx); c != nil {
		pools = allocate.Config{Pools: c.DefaultAddrPool, SubnetSize: int(c.SubnetSize)}
	}
	state := allocate.New(pools, store.Networks.All(p.tx), store.Services.All(p.tx), store.Tasks.All(p.tx))
	for _, t := range p.waiting {
		if cluster.Rank(t.Status.State) >= cluster.Rank(swarm.TaskStatePending) {
			continue // it has its addresses and waits for a node
		}
		if err := state.Task(t, store.Services.Get(p.tx, t.ServiceID), p.spec(t.SpecID)); err != nil {
			p.refuse(t, swarm.TaskStateNew, err.Error())
			continue
		}
		p.set(t, swarm.TaskStatePending, "pending task scheduling", "")
	}
}

// place books a node for every waiting task that has its addresses, group by group.
func (p *pass) place() {
	nodes := p.stock()
	type key struct{ service, spec string }
	groups := map[key][]*cluster.Task{}
	var order []key
	for _, t := range p.waiting {
		if t.Status.State != swarm.TaskStatePending {
			continue
		}
		k := key{t.ServiceID, t.SpecID}
		if groups[k] == nil {
			order = append(order, k)
		}
		groups[k] = append(groups[k], t)
	}
	for _, k := range order {
		if p.spec(k.spec) == nil {
			for _, t := range groups[k] {
				p.refuse(t, swarm.TaskStatePending, fmt.Sprintf("spec %s of the task is gone: update the service", k.spec))
			}
			continue
		}
		placed, refused := schedule.Place(p.group(k.service, k.spec, groups[k]), nodes)
		for _, b := range placed {
			b.Task.NodeID, b.Task.Generic = b.NodeID, b.Generic
			p.set(b.Task, swarm.TaskStateAssigned, "scheduler assigned task to node", "")
		}
		for _, r := range refused {
			p.refuse(r.Task, swarm.TaskStatePending, r.Reason)
		}
	}
}

// stock is what the nodes have left now.
func (p *pass) stock() *schedule.Nodes {
	return schedule.NewNodes(p.nodes, store.Tasks.All(p.tx), p.spec, p.tx.Now())
}

// group is some tasks of a service and a spec, which is there, as schedule takes them.
func (p *pass) group(service, spec string, tasks []*cluster.Task) schedule.Group {
	g := schedule.Group{Spec: p.spec(spec), ServiceID: service, Tasks: tasks}
	if s := store.Services.Get(p.tx, service); s != nil {
		g.Binpack = s.Spec.Labels[schedule.StrategyLabel] == "binpack"
	}
	return g
}

// set moves a task on; a task that stays as it was keeps its time stamp.
func (p *pass) set(t *cluster.Task, state swarm.TaskState, message, reason string) {
	if t.Status.State == state && t.Status.Err == reason {
		return
	}
	t.Status.State, t.Status.Message, t.Status.Err, t.Status.Timestamp = state, message, reason, p.tx.Now()
	p.changed[t] = true
}

func (p *pass) refuse(t *cluster.Task, state swarm.TaskState, reason string) {
	message := "pending task scheduling"
	if state == swarm.TaskStateNew {
		message = "waiting for addresses and ports"
	}
	p.set(t, state, message, reason)
	p.starved[t.ServiceID] = true
}

// historyLimit is how many ended tasks a slot keeps; 5 when the cluster says nothing.
func historyLimit(c *cluster.Cluster) int {
	if c == nil || c.Spec.Orchestration.TaskHistoryRetentionLimit == nil {
		return 5
	}
	return int(*c.Spec.Orchestration.TaskHistoryRetentionLimit)
}
