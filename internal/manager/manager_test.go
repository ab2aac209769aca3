package manager

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/reconcile"
	"shoal/internal/store"
	"shoal/internal/store/storetest"
)

// rig is a leading manager over a store in memory.
type rig struct {
	t *testing.T
	s *store.Store
}

// lead runs f beside a manager, in a bubble whose clock stands still unless everybody waits.
func lead(t *testing.T, f func(r *rig)) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, s: store.New()}
		r.s.Lead(storetest.Proposer{Store: r.s})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- Lead(ctx, Config{Store: r.s, Applied: func() uint64 { return r.s.Index() }, Moved: func() <-chan struct{} { return nil }})
		}()
		f(r)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		r.s.Follow()
	})
}

// wait lets time pass on the bubble's clock.
func (r *rig) wait(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func (r *rig) update(f func(tx *store.Tx)) {
	r.t.Helper()
	storetest.Update(r.t, r.s, f)
	synctest.Wait()
}

func (r *rig) node(id string, change func(*cluster.Node)) {
	r.t.Helper()
	n := new(cluster.Node)
	n.ID, n.Description.Hostname = id, id
	n.Spec = swarm.NodeSpec{Role: swarm.NodeRoleWorker, Availability: swarm.NodeAvailabilityActive}
	n.Status.State = swarm.NodeStateReady
	n.Description.Resources = swarm.Resources{NanoCPUs: 4e9, MemoryBytes: 8 << 30}
	if change != nil {
		change(n)
	}
	r.update(func(tx *store.Tx) { store.Nodes.Put(tx, n) })
}

func (r *rig) service(id string, replicas uint64, change func(*swarm.TaskSpec)) {
	r.t.Helper()
	spec := swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: "web:v1"}}
	if change != nil {
		change(&spec)
	}
	s := new(cluster.Service)
	s.ID, s.SpecID = id, "spec-"+id
	s.Spec.Name, s.Spec.TaskTemplate = id, spec
	s.Spec.Mode.Replicated = &swarm.ReplicatedService{Replicas: &replicas}
	r.update(func(tx *store.Tx) {
		store.Specs.Put(tx, &cluster.Spec{ID: s.SpecID, Task: spec})
		store.Services.Put(tx, s)
	})
}

// tasks of a service that should run, in order of slot.
func (r *rig) tasks(service string) []*cluster.Task {
	var out []*cluster.Task
	for t := range store.Tasks.By(r.s.View(), store.TaskService, service) {
		if cluster.Rank(t.DesiredState) <= cluster.Rank(swarm.TaskStateRunning) {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b *cluster.Task) int { return a.Slot - b.Slot })
	return out
}

// report is what a node says of a task.
func (r *rig) report(t *cluster.Task, state swarm.TaskState) {
	r.t.Helper()
	r.update(func(tx *store.Tx) {
		next := *store.Tasks.Get(tx, t.ID)
		next.Status.State, next.Status.Timestamp = state, tx.Now()
		store.Tasks.Put(tx, &next)
	})
}

func TestTasksAreBornWithTheirNodes(t *testing.T) {
	lead(t, func(r *rig) {
		r.node("n1", nil)
		r.node("n2", nil)
		r.service("web", 4, nil)
		on := map[string]int{}
		for _, task := range r.tasks("web") {
			on[task.NodeID]++
			if task.Status.State != swarm.TaskStateAssigned {
				t.Errorf("slot %d is %s: %s", task.Slot, task.Status.State, task.Status.Err)
			}
		}
		if on["n1"] != 2 || on["n2"] != 2 {
			t.Errorf("tasks by node: %v, want two on each", on)
		}
	})
}

func TestTheStoreIsQuietWhenNothingIsToDo(t *testing.T) {
	lead(t, func(r *rig) {
		r.service("web", 2, nil) // no node: two tasks wait
		before := r.s.Index()
		r.wait(time.Hour)
		if after := r.s.Index(); after != before {
			t.Errorf("%d transactions were written although nothing changed", after-before)
		}
	})
}

func TestWaitingTasksSayWhyAndTakeTheFirstPlace(t *testing.T) {
	lead(t, func(r *rig) {
		r.service("web", 1, nil)
		task := r.tasks("web")[0]
		if task.Status.State != swarm.TaskStatePending || task.Status.Err == "" {
			t.Fatalf("without a node: %s, reason %q; want pending and a reason", task.Status.State, task.Status.Err)
		}
		r.node("n1", nil)
		if task = r.tasks("web")[0]; task.NodeID != "n1" || task.Status.Err != "" {
			t.Errorf("with a node: on %q, reason %q", task.NodeID, task.Status.Err)
		}
	})
}

func TestALostNodesTasksGoElsewhereAtOnce(t *testing.T) {
	lead(t, func(r *rig) {
		r.node("n1", nil)
		r.node("n2", nil)
		r.service("web", 2, nil)
		for _, task := range r.tasks("web") {
			r.report(task, swarm.TaskStateRunning)
		}
		r.node("n1", func(n *cluster.Node) { n.Status.State = swarm.NodeStateDown })
		for _, task := range r.tasks("web") {
			if task.NodeID != "n2" {
				t.Errorf("slot %d is on %s", task.Slot, task.NodeID)
			}
		}
	})
}

// carryOut lets the nodes carry out what is asked of the service's tasks, until nothing more is.
func (r *rig) carryOut(service string) {
	r.t.Helper()
	for again := true; again; {
		again = false
		for task := range store.Tasks.By(r.s.View(), store.TaskService, service) {
			switch {
			case cluster.Terminal(task.Status.State) || task.NodeID == "":
			case cluster.Rank(task.DesiredState) > cluster.Rank(swarm.TaskStateRunning):
				r.report(task, swarm.TaskStateShutdown)
				again = true
			case task.DesiredState == swarm.TaskStateRunning && task.Status.State != swarm.TaskStateRunning:
				r.report(task, swarm.TaskStateRunning)
				again = true
			}
		}
	}
}

func (r *rig) label(service, key, value string) {
	r.t.Helper()
	r.update(func(tx *store.Tx) {
		s := *store.Services.Get(tx, service)
		s.Spec.Labels = map[string]string{key: value}
		store.Services.Put(tx, &s)
	})
}

func (r *rig) counts(service string) map[string]int {
	on := map[string]int{}
	for _, task := range r.tasks(service) {
		on[task.NodeID]++
	}
	return on
}

func TestAJoinedNodeGetsItsShareOfServicesThatWantIt(t *testing.T) {
	lead(t, func(r *rig) {
		r.node("n1", nil)
		r.service("web", 4, nil)
		r.service("db", 2, nil)
		r.carryOut("web")
		r.carryOut("db")
		r.label("web", reconcile.RebalanceLabel, "true")
		r.wait(time.Minute)
		r.node("n2", nil)
		for range 4 { // each move waits until the one before it has been steady for the monitor time
			r.carryOut("web")
			r.wait(10 * time.Second)
		}
		if on := r.counts("web"); on["n1"] != 2 || on["n2"] != 2 {
			t.Errorf("web: %v, want two on each", on)
		}
		if on := r.counts("db"); on["n1"] != 2 {
			t.Errorf("db, which has no such label, moved: %v", on)
		}
		before := r.s.Index()
		r.wait(time.Hour)
		if after := r.s.Index(); after != before {
			t.Errorf("%d more transactions after all was spread", after-before)
		}
	})
}

// A node that fell often gets nothing for a while; what waits for it is looked at again when that is over.
func TestATaskWaitsForANodeToRest(t *testing.T) {
	lead(t, func(r *rig) {
		r.node("n1", func(n *cluster.Node) { n.Falls = []time.Time{time.Now().Add(-2 * time.Second), time.Now()} })
		r.service("web", 1, nil)
		if task := r.tasks("web")[0]; task.NodeID != "" || task.Status.Err == "" {
			t.Fatalf("the task is on %q: %s", task.NodeID, task.Status.Err)
		}
		r.wait(6 * time.Second)
		if task := r.tasks("web")[0]; task.NodeID != "n1" {
			t.Errorf("the task still waits: %s", task.Status.Err)
		}
	})
}

// What is due in less than it takes to ask again does not keep a processor busy when the store's time stands still.
func TestAClockThatStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, stands := 0, time.Now()
		s := store.NewWithClock(func() time.Time { asked++; return stands })
		m := &Manager{cfg: Config{Store: s, Moved: func() <-chan struct{} { return nil }}, wake: newWakeups()}
		m.wake.later("web", stands.Add(time.Microsecond))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := m.run(ctx); err != nil {
			t.Error(err)
		}
		if asked > 3000 {
			t.Errorf("the clock was asked %d times in a second", asked)
		}
	})
}

func TestRemovedServiceLeavesNothing(t *testing.T) {
	lead(t, func(r *rig) {
		r.node("n1", nil)
		r.service("web", 3, nil)
		tasks := r.tasks("web")
		for _, task := range tasks {
			r.report(task, swarm.TaskStateRunning)
		}
		r.update(func(tx *store.Tx) { store.Services.Delete(tx, "web") })
		r.wait(time.Minute)
		for _, task := range tasks {
			r.report(task, swarm.TaskStateShutdown)
		}
		v := r.s.View()
		if n := store.Tasks.Len(v); n != 0 {
			t.Errorf("%d tasks are left", n)
		}
		if n := store.Specs.Len(v); n != 0 {
			t.Errorf("%d specs are left that nothing names", n)
		}
	})
}
