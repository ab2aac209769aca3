package reconcile

import (
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"pgregory.net/rapid"

	"shoal/internal/cluster"
)

// A settled service needs no look for tasks that come nearer to running: the plan stays empty whatever of them does.
func TestSettled(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(3)
		w.tick = 1
		w.broken["bad"] = true
		order := rapid.SampledFrom([]swarm.UpdateOrder{"stop-first", "start-first"}).Draw(t, "order")
		w.update(func(s *swarm.ServiceSpec) {
			s.TaskTemplate.ContainerSpec.Image = "v1"
			s.Mode = drawMode(t)
			s.UpdateConfig = &swarm.UpdateConfig{Parallelism: 1, Order: order, Monitor: time.Second}
			s.RollbackConfig = s.UpdateConfig
		})
		for range rapid.IntRange(5, 40).Draw(t, "length") {
			w.event(t)
			if !w.pass().Settled {
				continue
			}
			for _, task := range w.sorted() {
				assigned := cluster.Rank(task.Status.State) >= cluster.Rank(swarm.TaskStateAssigned)
				if assigned && cluster.Rank(task.Status.State) < cluster.Rank(swarm.TaskStateRunning) && rapid.Bool().Draw(t, "runs") {
					w.change(task.ID, func(t *cluster.Task) {
						t.Status = swarm.TaskStatus{Timestamp: w.now, State: swarm.TaskStateRunning}
						t.StartedAt = w.now
					})
				}
			}
			if w.svc.Spec.Mode.Replicated != nil { // that nodes are heard of or not is no matter either
				for _, n := range w.nodes {
					if n.Status.State != swarm.NodeStateDown {
						state := rapid.SampledFrom([]swarm.NodeState{swarm.NodeStateReady, swarm.NodeStateUnknown}).Draw(t, "heard")
						w.changeNode(n.ID, func(n *cluster.Node) { n.Status.State = state })
					}
				}
			}
			if again := Service(w.input()); !again.Empty() || !again.Settled {
				t.Fatalf("settled, and yet: %v (settled: %v)\n%s", describe(again), again.Settled, w.ps())
			}
		}
	})
}

// What a running service, an update and a job are for the manager.
func TestWhoIsSettled(t *testing.T) {
	w := newWorld(2)
	two := uint64(2)
	w.update(func(s *swarm.ServiceSpec) { s.Mode.Replicated = &swarm.ReplicatedService{Replicas: &two} })
	if !w.pass().Settled {
		t.Error("a new service is not settled by its first plan")
	}
	w.run(time.Minute)
	if !w.pass().Settled {
		t.Error("a service that runs is not settled")
	}
	w.update(func(s *swarm.ServiceSpec) { s.TaskTemplate.ForceUpdate++ })
	if w.pass().Settled {
		t.Error("a service is settled although it is being updated")
	}
	w.run(time.Hour)
	if !w.pass().Settled {
		t.Error("a service is not settled after its update")
	}
}
