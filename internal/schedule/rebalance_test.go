package schedule

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"shoal/internal/cluster"
)

// settle carries out moves one at a time until none is left, and prints where the service's tasks are.
func settle(t interface {
	Helper()
	Fatalf(format string, args ...any)
}, g Group, nodes []*cluster.Node, others ...*cluster.Task,
) (where string, moves int) {
	t.Helper()
	g.Tasks = slices.Clone(g.Tasks)
	for {
		stock := NewNodes(nodes, slices.Values(append(slices.Clone(others), g.Tasks...)), func(string) *cluster.Spec { return g.Spec }, epoch)
		before := fmt.Sprint(stock.left, stock.total, stock.ports)
		chosen := Rebalance(g, 1, stock)
		if after := fmt.Sprint(stock.left, stock.total, stock.ports); after != before {
			t.Fatalf("the stock was changed:\n%s\n%s", before, after)
		}
		if len(chosen) == 0 {
			break
		}
		if moves++; moves > 1000 {
			t.Fatalf("moving does not come to an end")
		}
		k := slices.Index(g.Tasks, chosen[0])
		again := *chosen[0]
		again.NodeID, again.Status.State = "", "pending"
		stock.Remove(chosen[0], g.Spec)
		placed, refused := Place(Group{Spec: g.Spec, ServiceID: g.ServiceID, Tasks: []*cluster.Task{&again}}, stock)
		if len(refused) > 0 {
			t.Fatalf("a task that was to move found no place: %s", refused[0].Reason)
		}
		moved := *chosen[0]
		if moved.NodeID = placed[0].NodeID; moved.NodeID == chosen[0].NodeID {
			t.Fatalf("%s was moved to where it was", moved.ID)
		}
		g.Tasks[k] = &moved
	}
	counts := map[string]int{}
	for _, task := range g.Tasks {
		counts[task.NodeID]++
	}
	var out []string
	for _, n := range nodes {
		if counts[n.ID] > 0 {
			out = append(out, fmt.Sprintf("%s=%d", n.ID, counts[n.ID]))
		}
	}
	return strings.Join(out, " "), moves
}

func TestRebalance(t *testing.T) {
	paused := func(n *cluster.Node) { n.Spec.Availability = "pause" }
	both := func(n int) []*cluster.Task { return append(runningOn("web", "n1", n), runningOn("web", "n2", n)...) }
	tests := []struct {
		name   string
		group  Group
		nodes  []*cluster.Node
		others []*cluster.Task
		want   string
		moves  int
	}{
		{"a new node gets its share", Group{Spec: spec(), Tasks: both(3)}, []*cluster.Node{node("n1"), node("n2"), node("n3")}, nil, "n1=2 n2=2 n3=2", 2},
		{"as even as it can be", Group{Spec: spec(), Tasks: append(both(1), runningOn("web", "n3", 2)...)}, []*cluster.Node{node("n1"), node("n2"), node("n3")}, nil, "n1=1 n2=1 n3=2", 0},
		{
			"a lone task leaves a loaded node",
			Group{Spec: spec(), Tasks: runningOn("web", "n1", 1)},
			[]*cluster.Node{node("n1"), node("n2")},
			runningOn("db", "n1", 1), "n2=1", 1,
		},
		{"alone on a node with nothing else", Group{Spec: spec(), Tasks: runningOn("web", "n1", 1)}, []*cluster.Node{node("n1"), node("n2")}, nil, "n1=1", 0},
		{
			"not where the constraints forbid it",
			Group{Spec: spec(constrain("node.labels.disk == ssd")), Tasks: runningOn("web", "n1", 4)},
			[]*cluster.Node{node("n1", label("disk", "ssd")), node("n2")},
			nil, "n1=4", 0,
		},
		{
			"not where there is no room",
			Group{Spec: spec(cpus(1)), Tasks: runningOn("web", "n1", 4)},
			[]*cluster.Node{node("n1"), node("n2", func(n *cluster.Node) { n.Description.Resources.NanoCPUs = 1e9 })},
			nil, "n1=3 n2=1", 1,
		},
		{"a paused node keeps what it has", Group{Spec: spec(), Tasks: runningOn("web", "n1", 4)}, []*cluster.Node{node("n1", paused), node("n2")}, nil, "n1=4", 0},
		{"nothing for a packed service", Group{Spec: spec(), Binpack: true, Tasks: runningOn("web", "n1", 4)}, []*cluster.Node{node("n1"), node("n2")}, nil, "n1=4", 0},
		{
			"zones first",
			Group{Spec: spec(spreadOver("node.labels.zone")), Tasks: both(2)},
			[]*cluster.Node{node("n1", label("zone", "a")), node("n2", label("zone", "a")), node("n3", label("zone", "b"))},
			nil, "n1=1 n2=1 n3=2", 2,
		},
		{"host ports stay apart", Group{Spec: spec(hostPort8080), Tasks: both(1)}, []*cluster.Node{node("n1"), node("n2"), node("n3")}, runningOn("db", "n1", 2), "n2=1 n3=1", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.group.ServiceID = "web"
			for _, o := range tt.others {
				o.SpecID = ""
			}
			where, moves := settle(t, tt.group, tt.nodes, tt.others...)
			if d := cmp.Diff([]any{tt.want, tt.moves}, []any{where, moves}); d != "" {
				t.Error(d)
			}
		})
	}
}

// However tasks and nodes lie, moving ends, never takes a task where it has no place, and leaves no two nodes, or
// with a preference no two of its values, that differ by more than one.
func TestRebalanceEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var nodes []*cluster.Node
		for i := range rapid.IntRange(1, 6).Draw(t, "nodes") {
			n := node(fmt.Sprintf("n%d", i), label("zone", rapid.SampledFrom([]string{"a", "b", ""}).Draw(t, "zone")))
			nodes = append(nodes, n)
		}
		var own, others []*cluster.Task
		for _, n := range nodes {
			own = append(own, runningOn("web", n.ID, rapid.IntRange(0, 6).Draw(t, "own"))...)
			others = append(others, runningOn("db", n.ID, rapid.IntRange(0, 4).Draw(t, "others"))...)
		}
		s := spec()
		zones := rapid.Bool().Draw(t, "zones")
		if zones {
			spreadOver("node.labels.zone")(s)
		}
		where, _ := settle(t, Group{Spec: s, ServiceID: "web", Tasks: own}, nodes, others...)
		counts := map[string]int{}
		for part := range strings.FieldsSeq(where) {
			id, n, _ := strings.Cut(part, "=")
			tasks, err := strconv.Atoi(n)
			if err != nil {
				t.Fatal(err)
			}
			if zones { // what is even first; within a zone it may have to stay uneven for that
				id = nodes[slices.IndexFunc(nodes, func(n *cluster.Node) bool { return n.ID == id })].Spec.Labels["zone"]
			}
			counts[id] += tasks
		}
		kind := func(n *cluster.Node) string {
			if zones {
				return n.Spec.Labels["zone"]
			}
			return n.ID
		}
		for _, a := range nodes {
			for _, b := range nodes {
				if counts[kind(a)] > counts[kind(b)]+1 {
					t.Fatalf("%q has %d tasks and %q %d", kind(a), counts[kind(a)], kind(b), counts[kind(b)])
				}
			}
		}
	})
}
