package reconcile

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"pgregory.net/rapid"

	"shoal/internal/cluster"
)

// drawSpec changes a few things of a service.
func drawSpec(t *rapid.T, s *swarm.ServiceSpec) {
	for range rapid.IntRange(1, 3).Draw(t, "changes") {
		switch rapid.IntRange(0, 7).Draw(t, "change") {
		case 0, 1:
			s.TaskTemplate.ContainerSpec.Image = rapid.SampledFrom([]string{"v1", "v2", "bad"}).Draw(t, "image")
		case 2:
			s.TaskTemplate.ForceUpdate++
		case 3:
			n := rapid.Uint64Range(0, 5).Draw(t, "replicas")
			if s.Mode.Replicated != nil {
				s.Mode.Replicated = &swarm.ReplicatedService{Replicas: &n}
			}
		case 4:
			s.TaskTemplate.Placement = rapid.SampledFrom([]*swarm.Placement{nil, {Constraints: []string{"node.labels.off != yes"}}, {MaxReplicas: 3}}).Draw(t, "placement")
		case 5:
			c := *s.UpdateConfig
			c.Parallelism = rapid.Uint64Range(0, 3).Draw(t, "parallelism")
			c.FailureAction = rapid.SampledFrom([]swarm.FailureAction{"pause", "continue", "rollback"}).Draw(t, "action")
			c.MaxFailureRatio = rapid.SampledFrom([]float32{0, 0.5}).Draw(t, "ratio")
			c.Delay = rapid.SampledFrom([]time.Duration{0, 10 * time.Second}).Draw(t, "delay")
			s.UpdateConfig = &c
		case 6:
			s.Labels = map[string]string{
				DrainLabel:     rapid.SampledFrom([]string{"0s", "1s"}).Draw(t, "drain"),
				RebalanceLabel: rapid.SampledFrom([]string{"", "true"}).Draw(t, "rebalance"),
			}
		case 7:
			s.EndpointSpec = rapid.SampledFrom([]*swarm.EndpointSpec{nil, {Ports: []swarm.PortConfig{{Protocol: "tcp", PublishedPort: 80, PublishMode: swarm.PortConfigPublishModeHost}}}}).Draw(t, "ports")
		}
	}
}

func drawMode(t *rapid.T) swarm.ServiceMode {
	two, three := uint64(2), uint64(3)
	return rapid.SampledFrom([]swarm.ServiceMode{
		{Replicated: &swarm.ReplicatedService{Replicas: &three}},
		{Replicated: &swarm.ReplicatedService{Replicas: &three}},
		{Global: &swarm.GlobalService{}},
		{ReplicatedJob: &swarm.ReplicatedJob{MaxConcurrent: &two, TotalCompletions: &three}},
		{GlobalJob: &swarm.GlobalJob{}},
	}).Draw(t, "mode")
}

// event lets one thing happen.
func (w *world) event(t *rapid.T) {
	switch rapid.IntRange(0, 13).Draw(t, "event") {
	case 0, 1, 2, 3:
		w.pass()
	case 4, 5:
		tasks := w.sorted()
		if len(tasks) > 0 {
			w.step(rapid.SampledFrom(tasks).Draw(t, "task"))
		}
	case 6:
		w.run(rapid.SampledFrom([]time.Duration{0, time.Second, 20 * time.Second}).Draw(t, "time"))
	case 7:
		w.stepAll()
		w.now = w.now.Add(time.Second)
	case 8:
		w.update(func(s *swarm.ServiceSpec) { drawSpec(t, s) })
	case 9, 10:
		w.nodeEvent(t)
	case 11:
		for _, task := range w.sorted() {
			if task.Status.State == swarm.TaskStateRunning && w.reachable(task.NodeID) && rapid.Bool().Draw(t, "ends") {
				w.report(task.ID, rapid.SampledFrom([]swarm.TaskState{swarm.TaskStateFailed, swarm.TaskStateComplete}).Draw(t, "end"))
			}
		}
	case 12:
		if !isJob(w.svc) {
			w.rollback()
		}
	case 13: // whatever was chosen to move, and whether it was wise
		for _, task := range w.sorted() {
			if task.Slot > 0 && !isJob(w.svc) && task.Status.State == swarm.TaskStateRunning && task.LeftAt.IsZero() && rapid.Bool().Draw(t, "moves") {
				w.change(task.ID, func(t *cluster.Task) { t.Moving = true })
			}
		}
	}
}

func (w *world) nodeEvent(t *rapid.T) {
	id := fmt.Sprintf("n%d", rapid.IntRange(1, 4).Draw(t, "node"))
	if w.node(id) == nil {
		w.addNode(id)
		return
	}
	what := rapid.SampledFrom([]string{"down", "ready", "unknown", "active", "pause", "drain", "off", "on", "rm"}).Draw(t, "what")
	switch what {
	case "down", "unknown", "rm":
		for _, task := range w.tasks {
			if task.NodeID == id {
				w.fell[task.ID] = true
			}
		}
		w.nodeCommand(id, what, nil)
	case "off":
		w.nodeCommand(id, "label", []string{"off", "yes"})
	case "on":
		w.nodeCommand(id, "label", []string{"off", "no"})
	default:
		w.nodeCommand(id, what, nil)
	}
}

// alone is the rule that tasks of a slot do not run at the same time, but for the two of start-first. A container on a
// node that was out of reach is beyond any rule until its node has heard what is asked of it.
func (w *world) alone(most int) {
	w.onRun = func(t *cluster.Task) {
		n := 0
		for _, other := range w.tasks {
			same := other.Slot == t.Slot && (t.Slot != 0 || other.NodeID == t.NodeID)
			if same && other.Status.State == swarm.TaskStateRunning && (!w.fell[other.ID] || other == t) && w.node(other.NodeID) != nil {
				n++
			}
		}
		if n > most {
			w.fail("%d tasks run in the slot of %s", n, place(t))
		}
	}
}

// From any state that a mix of spec changes, node events and failures can lead to, the service comes to rest as it
// should be; plans are the same for every leader; no slot runs more than its update order allows.
func TestConverges(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(3)
		w.tick = 1 // no two transactions are of one instant
		w.broken["bad"] = true
		w.history = rapid.SampledFrom([]int{0, 1, 5, -1}).Draw(t, "history")
		order := rapid.SampledFrom([]swarm.UpdateOrder{"stop-first", "start-first"}).Draw(t, "order")
		condition := rapid.SampledFrom([]swarm.RestartPolicyCondition{"any", "on-failure", "none"}).Draw(t, "condition")
		delay := rapid.SampledFrom([]time.Duration{0, 2 * time.Second}).Draw(t, "restart delay")
		w.update(func(s *swarm.ServiceSpec) {
			s.TaskTemplate.ContainerSpec.Image = "v1"
			s.Mode = drawMode(t)
			s.TaskTemplate.RestartPolicy = &swarm.RestartPolicy{Condition: condition, Delay: &delay}
			s.UpdateConfig = &swarm.UpdateConfig{Parallelism: 1, Order: order}
			s.RollbackConfig = &swarm.UpdateConfig{Parallelism: 1, Order: order}
		})
		most := 1
		if order == swarm.UpdateOrderStartFirst {
			most = 2
		}
		w.alone(most)
		for range rapid.IntRange(5, 60).Draw(t, "length") {
			w.event(t)
			if w.err != nil {
				t.Fatal(w.err)
			}
		}
		w.heal()
		w.atRest(t, condition, false)
		if !isJob(w.svc) {
			w.update(func(s *swarm.ServiceSpec) {
				s.TaskTemplate.ForceUpdate++
				s.TaskTemplate.Placement, s.EndpointSpec = nil, nil
			})
			w.run(2 * time.Hour)
			w.atRest(t, condition, true)
		}
		w.svc = nil
		w.run(time.Hour)
		if w.untouched(); w.err != nil {
			t.Fatal(w.err)
		}
		if len(w.tasks) > 0 {
			t.Fatalf("%d tasks are left of a removed service:\n%s", len(w.tasks), w.ps())
		}
	})
}

// heal ends all trouble and gives the world time.
func (w *world) heal() {
	w.broken = map[string]bool{}
	for _, n := range w.nodes {
		w.nodeCommand(n.ID, "ready", nil)
		w.nodeCommand(n.ID, "active", nil)
		w.nodeCommand(n.ID, "label", []string{"off", "no"})
	}
	for _, id := range []string{"n1", "n2", "n3", "n4", "n5"} {
		if w.node(id) == nil {
			w.addNode(id)
		}
	}
	w.run(2 * time.Hour)
	for range 8 {
		if w.svc != nil && isJob(w.svc) {
			for _, t := range w.tasks {
				w.works[t.ID] = true
			}
			w.run(time.Hour)
		}
	}
}

// atRest checks that nothing is left to do and that the service is as it should be.
func (w *world) atRest(t *rapid.T, condition swarm.RestartPolicyCondition, updated bool) {
	if w.err != nil {
		t.Fatal(w.err)
	}
	if plan := w.pass(); !plan.Empty() {
		t.Fatalf("no fixed point: %v\n%s", describe(plan), w.ps())
	}
	running, complete := map[slotKey]int{}, map[slotKey]bool{}
	for _, task := range w.tasks {
		key := slotKey{number: task.Slot}
		if task.Slot == 0 {
			key.node = task.NodeID
		}
		if !cluster.Terminal(task.Status.State) {
			running[key]++
			if task.Status.State != swarm.TaskStateRunning {
				t.Fatalf("%s is %s\n%s", place(task), task.Status.State, w.ps())
			}
			if updated && task.SpecID != w.svc.SpecID {
				t.Fatalf("%s is out of date\n%s", place(task), w.ps())
			}
		}
		complete[key] = complete[key] || task.Status.State == swarm.TaskStateComplete
	}
	for key, n := range running {
		if n > 1 {
			t.Fatalf("%d tasks in slot %v\n%s", n, key, w.ps())
		}
	}
	want := len(w.nodes)
	switch mode := w.svc.Spec.Mode; {
	case mode.Replicated != nil:
		want = int(*mode.Replicated.Replicas)
	case mode.ReplicatedJob != nil:
		want = int(*mode.ReplicatedJob.TotalCompletions)
	}
	have := len(running)
	if isJob(w.svc) {
		have = len(slices.Collect(maps.Keys(complete)))
		if condition == swarm.RestartPolicyConditionNone {
			return // a failed slot stays failed
		}
	}
	settled := condition != swarm.RestartPolicyConditionAny && !updated
	if have > want || have < want && !settled {
		t.Fatalf("%d of %d\n%s", have, want, w.ps())
	}
	if u := w.svc.UpdateStatus; updated && (u == nil && want > 0 || u != nil && u.State != swarm.UpdateStateCompleted) {
		t.Fatalf("update is %v\n%s", u, w.ps())
	}
}

// While only specs change, an update takes no more slots down at once than its parallelism, and with start-first none.
func TestParallelism(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(3)
		replicas := rapid.Uint64Range(1, 6).Draw(t, "replicas")
		parallelism := rapid.Uint64Range(1, 3).Draw(t, "parallelism")
		order := rapid.SampledFrom([]swarm.UpdateOrder{"stop-first", "start-first"}).Draw(t, "order")
		w.update(func(s *swarm.ServiceSpec) {
			s.TaskTemplate.ContainerSpec.Image = "v1"
			s.Mode.Replicated = &swarm.ReplicatedService{Replicas: &replicas}
			s.UpdateConfig = &swarm.UpdateConfig{Parallelism: parallelism, Order: order, Delay: rapid.SampledFrom([]time.Duration{0, 5 * time.Second}).Draw(t, "delay")}
			s.RollbackConfig = s.UpdateConfig
		})
		w.run(time.Minute)
		allowed := int(parallelism)
		if order == swarm.UpdateOrderStartFirst {
			allowed = 0
		}
		for range rapid.IntRange(5, 60).Draw(t, "length") {
			w.now = w.now.Add(time.Nanosecond) // each transaction is later than all before it, as the store's are
			switch rapid.IntRange(0, 9).Draw(t, "event") {
			case 0:
				w.update(func(s *swarm.ServiceSpec) { s.TaskTemplate.ForceUpdate++ })
			case 1:
				w.rollback()
			case 2:
				w.now = w.now.Add(rapid.SampledFrom([]time.Duration{time.Second, 6 * time.Second}).Draw(t, "time"))
			case 3, 4, 5:
				w.pass()
			default:
				w.step(rapid.SampledFrom(w.sorted()).Draw(t, "task"))
			}
			serving := map[int]bool{}
			for _, task := range w.tasks {
				if task.Status.State == swarm.TaskStateRunning && task.LeftAt.IsZero() {
					serving[task.Slot] = true
				}
			}
			if down := int(replicas) - len(serving); down > allowed {
				t.Fatalf("%d slots are down, %d allowed\n%s", down, allowed, w.ps())
			}
			if w.err != nil {
				t.Fatal(w.err)
			}
		}
		if w.untouched(); w.err != nil {
			t.Fatal(w.err)
		}
	})
}

// A task seen RUNNING gets its StartedAt from the report when nobody has written it yet.
func TestStartedAt(t *testing.T) {
	w := newWorld(1)
	one := uint64(1)
	w.update(func(s *swarm.ServiceSpec) { s.Mode.Replicated = &swarm.ReplicatedService{Replicas: &one} })
	w.run(time.Second)
	for _, task := range w.sorted() {
		w.change(task.ID, func(t *cluster.Task) { t.StartedAt = time.Time{} })
	}
	plan := Service(w.input())
	if len(plan.Update) != 1 || !plan.Update[0].StartedAt.Equal(epoch) {
		t.Errorf("plan %v", describe(plan))
	}
}

// TestMain makes 10,000 histories of each property the default; -rapid.checks asks for another number.
func TestMain(m *testing.M) {
	flag.Parse()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "rapid.checks" })
	if !asked && !testing.Short() {
		if err := flag.Set("rapid.checks", "10000"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}
