package manager

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
	"shoal/internal/store/storetest"
)

// steadySwarm is a store with services whose tasks all run, as a leader has left it, and a manager that has looked at all
// of it.
func steadySwarm(tb testing.TB, nodes, services, replicas int) (*Manager, *store.Store) {
	s := storetest.New(tb)
	count := uint64(replicas)
	storetest.Update(tb, s, func(tx *store.Tx) {
		for i := range nodes {
			n := new(cluster.Node)
			n.ID = fmt.Sprintf("n%05d", i)
			n.Spec = swarm.NodeSpec{Role: swarm.NodeRoleWorker, Availability: swarm.NodeAvailabilityActive}
			n.Status.State = swarm.NodeStateReady
			store.Nodes.Put(tx, n)
		}
		for i := range services {
			svc := new(cluster.Service)
			svc.ID, svc.Spec.Name, svc.SpecID = fmt.Sprint("s", i), fmt.Sprint("s", i), "spec"
			svc.Spec.Mode.Replicated = &swarm.ReplicatedService{Replicas: &count}
			store.Services.Put(tx, svc)
		}
		store.Specs.Put(tx, &cluster.Spec{ID: "spec", Task: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: "web"}}})
	})
	m := newManager(Config{Store: s, Applied: s.Index, Moved: func() <-chan struct{} { return nil }})
	m.wake.mark(everything(s.View())...)
	if err := m.once(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	for t := range store.Tasks.All(s.View()) {
		storetest.Update(tb, s, func(tx *store.Tx) { store.Tasks.Put(tx, running(t, tx.Now())) })
	}
	m.wake.mark(everything(s.View())...)
	if err := m.once(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return m, s
}

func running(t *cluster.Task, now time.Time) *cluster.Task {
	r := *t
	r.Status = swarm.TaskStatus{State: swarm.TaskStateRunning, Timestamp: now}
	r.StartedAt = now
	return &r
}

// What tasks report that run as they should costs one look at the change, whatever the swarm's size, and no pass.
func TestNoPassOverASteadySwarm(t *testing.T) {
	m, s := steadySwarm(t, 4, 2, 10)
	before := s.Index()
	for task := range store.Tasks.All(s.View()) {
		again := running(task, s.Now())
		a := affected(s.View(), store.Event{Changes: []store.Change{{Table: store.Tasks.Name(), Old: task, New: again}}})
		m.wake.mark(a.services...)
		m.wake.progress(a.progress)
	}
	if due := m.due(s.Now()); len(due) > 0 || !m.wake.next().IsZero() {
		t.Errorf("%v are due, next at %v, although nothing but reports of running tasks has come", due, m.wake.next())
	}
	if err := m.once(t.Context()); err != nil || s.Index() != before {
		t.Errorf("a pass wrote %d transactions: %v", s.Index()-before, err)
	}
}

// BenchmarkUnchanged is a pass when nothing has happened, in a swarm of 100,000 running tasks.
func BenchmarkUnchanged(b *testing.B) {
	m, _ := steadySwarm(b, 1000, 100, 1000)
	b.ReportAllocs()
	for b.Loop() {
		if err := m.once(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReports is what a status of a running task costs the passes there.
func BenchmarkReports(b *testing.B) {
	m, s := steadySwarm(b, 1000, 100, 1000)
	view := s.View()
	var changes []store.Event
	for t := range store.Tasks.All(view) {
		changes = append(changes, store.Event{Changes: []store.Change{{Table: store.Tasks.Name(), Old: t, New: running(t, s.Now())}}})
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		a := affected(view, changes[i%len(changes)])
		m.wake.mark(a.services...)
		m.wake.progress(a.progress)
		if err := m.once(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}
