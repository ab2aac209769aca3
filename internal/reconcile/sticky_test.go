package reconcile

import (
	"maps"
	"testing"

	"github.com/moby/moby/api/types/swarm"
	"pgregory.net/rapid"

	"shoal/internal/cluster"
)

// Whatever happens, a slot of a sticky service runs where it ran before for as long as that node is in the cluster, alone
// on what it left there; and once all nodes are back, all slots run.
func TestSticky(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(3)
		w.broken["bad"] = true
		three := uint64(3)
		w.update(func(s *swarm.ServiceSpec) {
			s.TaskTemplate.ContainerSpec.Image = "v1"
			s.Mode.Replicated = &swarm.ReplicatedService{Replicas: &three}
			s.Labels = map[string]string{StickyLabel: stickyAlways}
			s.UpdateConfig = &swarm.UpdateConfig{Parallelism: 1}
			s.RollbackConfig = s.UpdateConfig
		})
		homes := map[int]string{}
		w.onRun = func(task *cluster.Task) {
			if home := homes[task.Slot]; home != "" && home != task.NodeID {
				w.fail("%s moved from %s to %s", place(task), home, task.NodeID)
			}
			homes[task.Slot] = task.NodeID
			for _, other := range w.tasks {
				if other != task && other.Slot == task.Slot && other.NodeID == task.NodeID && other.Status.State == swarm.TaskStateRunning {
					w.fail("%s and %s run on one volume", place(task), place(other))
				}
			}
		}
		for range rapid.IntRange(5, 60).Draw(t, "length") {
			if rapid.IntRange(0, 9).Draw(t, "kind") == 0 {
				image := rapid.SampledFrom([]string{"v1", "v2", "bad"}).Draw(t, "image")
				n := rapid.Uint64Range(1, 4).Draw(t, "replicas")
				w.update(func(s *swarm.ServiceSpec) {
					s.TaskTemplate.ContainerSpec.Image = image
					s.Mode.Replicated = &swarm.ReplicatedService{Replicas: &n}
				})
			} else {
				w.stickyEvent(t)
			}
			maps.DeleteFunc(homes, func(_ int, home string) bool { return w.node(home) == nil })
			if w.err != nil {
				t.Fatalf("%v\n%s", w.err, w.ps())
			}
		}
		w.heal()
		w.atRest(t, swarm.RestartPolicyConditionAny, false)
	})
}

// stickyEvent is an event that leaves the spec as it is.
func (w *world) stickyEvent(t *rapid.T) {
	switch rapid.IntRange(0, 7).Draw(t, "event") {
	case 0, 1, 2:
		w.pass()
	case 3:
		w.stepAll()
	case 4:
		w.run(1e9)
	case 5:
		for _, task := range w.sorted() {
			if task.Status.State == swarm.TaskStateRunning && w.reachable(task.NodeID) && rapid.Bool().Draw(t, "ends") {
				w.report(task.ID, swarm.TaskStateFailed)
			}
		}
	default:
		w.nodeEvent(t)
	}
}
