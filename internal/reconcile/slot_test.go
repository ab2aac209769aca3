package reconcile

import (
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// With start-first a slot never has more than two tasks that may run: one that an update overtakes while it starts goes
// before the next one comes, since its node may have started it already.
func TestStartFirstMakesNoThird(t *testing.T) {
	w := newWorld(2)
	one := uint64(1)
	w.update(func(s *swarm.ServiceSpec) {
		s.TaskTemplate.ContainerSpec.Image = "v1"
		s.Mode.Replicated = &swarm.ReplicatedService{Replicas: &one}
		s.UpdateConfig = &swarm.UpdateConfig{Parallelism: 1, Order: swarm.UpdateOrderStartFirst}
	})
	w.run(time.Minute)
	for _, image := range []string{"v2", "v3"} {
		w.update(func(s *swarm.ServiceSpec) { s.TaskTemplate.ContainerSpec.Image = image })
		w.pass()
		live := 0
		for _, task := range w.sorted() {
			if cluster.Rank(task.Status.State) >= cluster.Rank(swarm.TaskStateAssigned) && !cluster.Terminal(task.Status.State) {
				live++
			}
			if task.Status.State == swarm.TaskStateAssigned {
				w.report(task.ID, swarm.TaskStateStarting)
			}
		}
		if live > 2 {
			t.Errorf("on the way to %s %d tasks may run:\n%s", image, live, w.ps())
		}
	}
	w.run(time.Hour)
	if tasks := w.sorted(); tasks[len(tasks)-1].SpecID != w.svc.SpecID || tasks[len(tasks)-1].Status.State != swarm.TaskStateRunning {
		t.Errorf("the update does not end:\n%s", w.ps())
	}
}

// A slot whose new task was lost with its node is down as the update left it: the update comes to no other meanwhile.
func TestLostNewTaskCounts(t *testing.T) {
	w := newWorld(4)
	two := uint64(2)
	w.update(func(s *swarm.ServiceSpec) {
		s.TaskTemplate.ContainerSpec.Image = "v1"
		s.Mode.Replicated = &swarm.ReplicatedService{Replicas: &two}
		s.UpdateConfig = &swarm.UpdateConfig{Parallelism: 1}
		s.Labels = map[string]string{DrainLabel: "0s"}
	})
	w.run(time.Minute)
	w.update(func(s *swarm.ServiceSpec) { s.TaskTemplate.ContainerSpec.Image = "v2" })
	w.pass()
	for _, task := range w.sorted() {
		if task.SpecID == w.svc.SpecID {
			w.nodeCommand(task.NodeID, "down", nil)
		}
	}
	w.pass()
	slots := map[int]bool{}
	for _, task := range w.sorted() {
		if task.SpecID == w.svc.SpecID {
			slots[task.Slot] = true
		}
	}
	if len(slots) != 1 {
		t.Errorf("the update is at %d slots at once:\n%s", len(slots), w.ps())
	}
}
