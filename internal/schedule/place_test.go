package schedule

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/swarm"
	"pgregory.net/rapid"

	"shoal/internal/cluster"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func node(id string, change ...func(*cluster.Node)) *cluster.Node {
	n := &cluster.Node{}
	n.ID = id
	n.Spec.Availability = swarm.NodeAvailabilityActive
	n.Spec.Role = swarm.NodeRoleWorker
	n.Spec.Labels = map[string]string{}
	n.Status.State = swarm.NodeStateReady
	n.Status.Addr = "10.1.0.7"
	n.Description.Hostname = "host-" + id
	n.Description.Platform = swarm.Platform{Architecture: "x86_64", OS: "linux"}
	n.Description.Resources = swarm.Resources{NanoCPUs: 4e9, MemoryBytes: 8 << 30}
	for _, c := range change {
		c(n)
	}
	return n
}

func label(key, value string) func(*cluster.Node) {
	return func(n *cluster.Node) { n.Spec.Labels[key] = value }
}

func down(n *cluster.Node) { n.Status.State = swarm.NodeStateDown }

func spec(change ...func(*cluster.Spec)) *cluster.Spec {
	s := &cluster.Spec{ID: "s1"}
	s.Task.ContainerSpec = &swarm.ContainerSpec{Image: "web"}
	s.Task.Placement = &swarm.Placement{}
	for _, c := range change {
		c(s)
	}
	return s
}

func cpus(n int64) func(*cluster.Spec) {
	return func(s *cluster.Spec) {
		s.Task.Resources = &swarm.ResourceRequirements{Reservations: &swarm.Resources{NanoCPUs: n * 1e9}}
	}
}

func constrain(exprs ...string) func(*cluster.Spec) {
	return func(s *cluster.Spec) { s.Task.Placement.Constraints = exprs }
}

func spreadOver(labels ...string) func(*cluster.Spec) {
	return func(s *cluster.Spec) {
		for _, l := range labels {
			s.Task.Placement.Preferences = append(s.Task.Placement.Preferences, swarm.PlacementPreference{Spread: &swarm.SpreadOver{SpreadDescriptor: l}})
		}
	}
}

func most(n uint64) func(*cluster.Spec) {
	return func(s *cluster.Spec) { s.Task.Placement.MaxReplicas = n }
}

func hostPort8080(s *cluster.Spec) {
	s.HostPorts = []swarm.PortConfig{{Protocol: "tcp", TargetPort: 80, PublishedPort: 8080, PublishMode: swarm.PortConfigPublishModeHost}}
}

func pending(service string, n int) []*cluster.Task {
	var out []*cluster.Task
	for i := 1; i <= n; i++ {
		t := &cluster.Task{ID: fmt.Sprintf("%s.%d", service, i), ServiceID: service, SpecID: "s1", Slot: i, DesiredState: swarm.TaskStateRunning}
		t.Status.State = swarm.TaskStatePending
		out = append(out, t)
	}
	return out
}

func runningOn(service, nodeID string, n int) []*cluster.Task {
	out := pending(service, n)
	for i, t := range out {
		t.ID = fmt.Sprintf("%s.%s.%d", service, nodeID, i)
		t.NodeID, t.Status.State = nodeID, swarm.TaskStateRunning
	}
	return out
}

// place places n tasks of service "web" and prints "node=tasks …" and the reasons.
func place(s *cluster.Spec, n int, nodes []*cluster.Node, have ...*cluster.Task) string {
	return placeTasks(Group{Spec: s, ServiceID: "web", Tasks: pending("web", n)}, nodes, have...)
}

func placeTasks(g Group, nodes []*cluster.Node, have ...*cluster.Task) string {
	state := NewNodes(nodes, slices.Values(have), func(string) *cluster.Spec { return g.Spec }, epoch)
	placed, refused := Place(g, state)
	counts := map[string]int{}
	for _, b := range placed {
		counts[b.NodeID]++
	}
	var out []string
	for _, node := range nodes {
		if counts[node.ID] > 0 {
			out = append(out, fmt.Sprintf("%s=%d", node.ID, counts[node.ID]))
		}
	}
	for i, r := range refused {
		if i == 0 || r.Reason != refused[i-1].Reason {
			out = append(out, r.Reason)
		}
	}
	return strings.Join(out, " ")
}

func TestPlace(t *testing.T) {
	abc := []*cluster.Node{node("a", label("dc", "east"), label("rack", "1")), node("b", label("dc", "east"), label("rack", "2")), node("c", label("dc", "west"), label("rack", "1"))}
	ready := pending("web", 2)
	for _, r := range ready {
		r.DesiredState = swarm.TaskStateReady
	}
	leaving := runningOn("web", "b", 1)
	leaving[0].LeftAt = epoch
	var failures []*cluster.Task
	for i := range 5 {
		f := runningOn("web", "a", 1)[0]
		f.ID, f.Status.State, f.Status.Timestamp = fmt.Sprint("f", i), swarm.TaskStateFailed, epoch.Add(-time.Minute)
		failures = append(failures, f)
	}
	preset := pending("web", 2)
	preset[0].NodeID, preset[1].NodeID = "a", "c"
	tests := []struct{ name, got, want string }{
		{"spread evenly", place(spec(), 6, abc), "a=2 b=2 c=2"},
		{"ties by id", place(spec(), 2, abc), "a=1 b=1"},
		{"service's own tasks first", place(spec(), 2, abc, append(runningOn("web", "a", 1), runningOn("db", "b", 9)...)...), "b=1 c=1"},
		{"then the node's load", place(spec(), 1, abc, runningOn("db", "a", 1)...), "b=1"},
		{"constraint", place(spec(constrain("node.labels.dc==east")), 4, abc), "a=2 b=2"},
		{"preference", place(spec(spreadOver("node.labels.dc")), 4, abc), "a=1 b=1 c=2"},
		{"nested preference", place(spec(spreadOver("node.labels.rack", "node.labels.dc")), 4, abc), "a=1 b=2 c=1"},
		{"max replicas", place(spec(most(1)), 4, abc), "a=1 b=1 c=1 no suitable node (max replicas per node limit exceed)"},
		{"cpu", place(spec(cpus(3)), 4, abc), "a=1 b=1 c=1 no suitable node (insufficient resources on 3 nodes)"},
		{"host port", place(spec(hostPort8080), 4, abc), "a=1 b=1 c=1 no suitable node (host-mode port already in use on 3 nodes)"},
		{
			"mixed reasons", place(spec(constrain("node.labels.dc==east"), cpus(3)), 1, append(abc, node("d", down)), append(runningOn("web", "a", 1), runningOn("web", "b", 1)...)...),
			"no suitable node (insufficient resources on 2 nodes; 1 node not available for new tasks; scheduling constraints not satisfied on 1 node)",
		},
		{"platform", place(spec(func(s *cluster.Spec) {
			s.Task.Placement.Platforms = []swarm.Platform{{Architecture: "arm64", OS: "linux"}}
		}), 1, abc), "no suitable node (unsupported platform on 3 nodes)"},
		{"platform's other name", place(spec(func(s *cluster.Spec) {
			s.Task.Placement.Platforms = []swarm.Platform{{Architecture: "amd64", OS: "linux"}}
		}), 1, abc), "a=1"},
		{"no nodes", place(spec(), 1, nil), "no suitable node"},
		{"failing node last", place(spec(), 3, abc[:2], failures...), "b=3"},
		{"follower gets its leader's host port", placeTasks(Group{Spec: spec(hostPort8080), ServiceID: "web", Tasks: ready[:1]}, abc,
			append(leaving, append(runningOn("db", "a", 1), runningOn("db", "c", 1)...)...)...), "b=1"},
		{
			"another slot does not", placeTasks(Group{Spec: spec(hostPort8080), ServiceID: "web", Tasks: ready[1:]}, abc[1:2], leaving...),
			"no suitable node (host-mode port already in use on 1 node)",
		},
		{
			"tasks with a node", placeTasks(Group{Spec: spec(constrain("node.id != c")), ServiceID: "web", Tasks: preset}, abc),
			"a=1 no suitable node (scheduling constraints not satisfied on 1 node)",
		},
		{"binpack", placeTasks(Group{Spec: spec(cpus(1)), ServiceID: "web", Binpack: true, Tasks: pending("web", 5)}, abc, runningOn("db", "b", 1)...), "a=2 b=3"},
		{"flapping node rests", place(spec(), 1, []*cluster.Node{node("a", func(n *cluster.Node) {
			n.Falls = []time.Time{epoch.Add(-time.Minute), epoch.Add(-time.Second)}
		})}), "no suitable node (1 node not available for new tasks)"},
	}
	for _, tt := range tests {
		if d := cmp.Diff(tt.want, tt.got); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
}

func TestGenericResources(t *testing.T) {
	gpu := func(names ...string) func(*cluster.Node) {
		return func(n *cluster.Node) {
			for _, name := range names {
				n.Description.Resources.GenericResources = append(n.Description.Resources.GenericResources,
					swarm.GenericResource{NamedResourceSpec: &swarm.NamedGenericResource{Kind: "GPU", Value: name}})
			}
		}
	}
	s := spec(func(s *cluster.Spec) {
		s.Task.Resources = &swarm.ResourceRequirements{Reservations: &swarm.Resources{GenericResources: []swarm.GenericResource{
			{DiscreteResourceSpec: &swarm.DiscreteGenericResource{Kind: "GPU", Value: 2}},
		}}}
	})
	nodes := NewNodes([]*cluster.Node{node("a", gpu("u3", "u1", "u2"))}, slices.Values([]*cluster.Task(nil)), nil, epoch)
	placed, refused := Place(Group{Spec: s, ServiceID: "web", Tasks: pending("web", 2)}, nodes)
	if len(placed) != 1 || len(refused) != 1 {
		t.Fatalf("placed %d, refused %d; want 1 and 1", len(placed), len(refused))
	}
	var names []string
	for _, g := range placed[0].Generic {
		names = append(names, g.NamedResourceSpec.Value)
	}
	if d := cmp.Diff([]string{"u1", "u2"}, names); d != "" {
		t.Error(d)
	}
	back := *placed[0].Task
	back.NodeID, back.Generic, back.Status.State = "a", placed[0].Generic, swarm.TaskStateRunning
	nodes.Remove(&back, s)
	stopping := back
	stopping.LeftAt, stopping.DesiredState = epoch, swarm.TaskStateShutdown
	nodes.Add(&stopping, s)
	if placed, _ := Place(Group{Spec: s, ServiceID: "other", Tasks: pending("other", 1)}, nodes); len(placed) != 0 {
		t.Error("a task was given what one that still stops has")
	}
	nodes.Remove(&stopping, s)
	if placed, _ := Place(Group{Spec: s, ServiceID: "web", Tasks: pending("web", 1)}, nodes); len(placed) != 1 {
		t.Error("resources given back are not free")
	}
}

// Whatever the nodes and the load: nothing is overbooked, each task has one answer, the spread differs by one at most
// among nodes that could take more, and the same input gives the same output.
func TestPlaceProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var nodes []*cluster.Node
		for i := range rapid.IntRange(0, 8).Draw(t, "nodes") {
			nodes = append(nodes, node(fmt.Sprintf("n%d", i), func(n *cluster.Node) {
				n.Spec.Labels["dc"] = rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "dc")
				n.Description.Resources.NanoCPUs = rapid.Int64Range(0, 6).Draw(t, "cpus") * 1e9
				if rapid.IntRange(0, 4).Draw(t, "down") == 0 {
					n.Status.State = swarm.NodeStateDown
				}
			}))
		}
		s := spec(cpus(rapid.Int64Range(0, 2).Draw(t, "want")), most(rapid.Uint64Range(0, 3).Draw(t, "most")))
		if rapid.Bool().Draw(t, "prefer") {
			spreadOver("node.labels.dc")(s)
		}
		if rapid.Bool().Draw(t, "constrain") {
			constrain("node.labels.dc != x")(s)
		}
		tasks := pending("web", rapid.IntRange(0, 20).Draw(t, "tasks"))
		run := func() ([]Binding, []Refusal, *Nodes) {
			state := NewNodes(nodes, slices.Values([]*cluster.Task(nil)), nil, epoch)
			placed, refused := Place(Group{Spec: s, ServiceID: "web", Tasks: tasks}, state)
			return placed, refused, state
		}
		placed, refused, state := run()
		again, refusedAgain, _ := run()
		if !cmp.Equal(placed, again) || !cmp.Equal(refused, refusedAgain) {
			t.Fatal("the same input gave another output")
		}
		if len(placed)+len(refused) != len(tasks) {
			t.Fatalf("%d placed and %d refused of %d", len(placed), len(refused), len(tasks))
		}
		counts := map[string]uint64{}
		for _, b := range placed {
			counts[b.NodeID]++
		}
		for i, n := range nodes {
			if counts[n.ID] > 0 && (n.Status.State != swarm.NodeStateReady || !Fits(s, n)) {
				t.Fatalf("%s must not have tasks", n.ID)
			}
			if most := s.Task.Placement.MaxReplicas; most > 0 && counts[n.ID] > most {
				t.Fatalf("%s has %d tasks, at most %d allowed", n.ID, counts[n.ID], most)
			}
			if state.left[i].cpu < 0 {
				t.Fatalf("%s is overbooked", n.ID)
			}
			open := n.Status.State == swarm.NodeStateReady && Fits(s, n) && state.left[i].cpu >= reservations(s).NanoCPUs &&
				(s.Task.Placement.MaxReplicas == 0 || counts[n.ID] < s.Task.Placement.MaxReplicas)
			if open && len(refused) > 0 {
				t.Fatalf("a task was refused although %s could take it", n.ID)
			}
			for _, other := range nodes {
				if open && len(s.Task.Placement.Preferences) == 0 && counts[other.ID] > counts[n.ID]+1 {
					t.Fatalf("%s has %d tasks and %s %d", n.ID, counts[n.ID], other.ID, counts[other.ID])
				}
			}
		}
	})
}
