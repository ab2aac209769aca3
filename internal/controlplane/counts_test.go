package controlplane

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/swarm"
	"pgregory.net/rapid"

	"shoal/internal/cluster"
	"shoal/internal/store"
	"shoal/internal/store/storetest"
)

// Whatever happens between two listings, the counts are those of the tasks.
func TestCountsFollowTheStore(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := store.New()
		s.Lead(storetest.Proposer{Store: s})
		defer s.Follow()
		var c counter
		for _, id := range []string{"a", "b"} {
			storetest.Update(t, s, func(tx *store.Tx) {
				svc := new(cluster.Service)
				svc.ID, svc.Spec.Name = id, id
				store.Services.Put(tx, svc)
				n := new(cluster.Node)
				n.ID = "n" + id
				store.Nodes.Put(tx, n)
			})
		}
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			storetest.Update(t, s, func(tx *store.Tx) { drawChange(rt, tx) })
			if rapid.Bool().Draw(rt, "look") {
				_, of := c.now(s)
				for _, id := range []string{"a", "b"} {
					if d := cmp.Diff(countedByHand(s.View(), id), of(id), cmp.AllowUnexported(tally{})); d != "" {
						rt.Fatalf("service %s (want first): %s", id, d)
					}
				}
			}
		}
	})
}

func drawChange(rt *rapid.T, tx *store.Tx) {
	id := fmt.Sprintf("t%d", rapid.IntRange(1, 6).Draw(rt, "task"))
	switch rapid.IntRange(0, 5).Draw(rt, "change") {
	case 0:
		store.Tasks.Delete(tx, id)
	case 1:
		n := *store.Nodes.Get(tx, rapid.SampledFrom([]string{"na", "nb"}).Draw(rt, "node"))
		n.Status.State = rapid.SampledFrom([]swarm.NodeState{swarm.NodeStateReady, swarm.NodeStateDown}).Draw(rt, "state")
		store.Nodes.Put(tx, &n)
	default:
		task := &cluster.Task{ID: id, ServiceID: rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "service"), NodeID: rapid.SampledFrom([]string{"na", "nb"}).Draw(rt, "on")}
		task.Status.State = rapid.SampledFrom(cluster.States()).Draw(rt, "status")
		task.DesiredState = rapid.SampledFrom([]swarm.TaskState{swarm.TaskStateRunning, swarm.TaskStateShutdown, swarm.TaskStateComplete}).Draw(rt, "desired")
		store.Tasks.Put(tx, task)
	}
}

func countedByHand(r store.Reader, service string) (t tally) {
	for task := range store.Tasks.By(r, store.TaskService, service) {
		if wanted(task) {
			t.wanted++
		}
		down := store.Nodes.Get(r, task.NodeID).Status.State == swarm.NodeStateDown
		if task.Status.State == swarm.TaskStateRunning && !down {
			t.running++
		}
	}
	return t
}

// The counts start anew when the changes in between are no longer kept.
func TestCountsAfterManyTransactions(t *testing.T) {
	s := storetest.New(t)
	var c counter
	c.now(s)
	storetest.Update(t, s, func(tx *store.Tx) {
		svc := new(cluster.Service)
		svc.ID = "a"
		store.Services.Put(tx, svc)
	})
	const more = 5000 // than the history keeps
	for i := range more {
		storetest.Update(t, s, func(tx *store.Tx) {
			store.Tasks.Put(tx, &cluster.Task{ID: fmt.Sprint(i), ServiceID: "a", Status: swarm.TaskStatus{State: swarm.TaskStateRunning}})
		})
	}
	if _, of := c.now(s); of("a").running != more {
		t.Errorf("%d tasks run, want %d", of("a").running, more)
	}
}
