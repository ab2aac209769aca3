package schedule

import (
	"iter"
	"slices"
	"sort"
	"strings"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// Group is a set of tasks of one service and one spec that are placed together.
type Group struct {
	Spec      *cluster.Spec
	ServiceID string
	// Binpack fills loaded nodes first instead of spreading (service label [StrategyLabel] = "binpack").
	Binpack bool
	Tasks   []*cluster.Task
}

// StrategyLabel is the service label that chooses between "spread" (the default) and "binpack".
const StrategyLabel = "shoal.strategy"

// Binding puts one task on one node.
type Binding struct {
	Task    *cluster.Task
	NodeID  string
	Generic []swarm.GenericResource // what the node gives the task
}

// Refusal is a task that no node can take now, and why: the text for Status.Err, as Docker words it.
type Refusal struct {
	Task   *cluster.Task
	Reason string // "no suitable node (insufficient resources on 2 nodes; unsupported platform on 1 node)"
}

// placement is one run of [Place].
type placement struct {
	g       Group
	n       *Nodes
	load    *serviceLoad
	all     []filter // that have something to say, in the pipeline's order
	dynamic []filter
	tree    *branch         // made when the first task without a node comes
	leaders map[int][]int32 // slot → nodes where a task of it holds the group's host ports
	reason  string          // for tasks without a node, once one was refused
}

// Place binds the tasks of g, in their order, and books them in nodes. Each task is in exactly one of the results; a
// refused task may be tried again in any later pass. Tasks that name a node are placed there or nowhere.
func Place(g Group, nodes *Nodes) (placed []Binding, refused []Refusal) {
	pl := newPlacement(g, nodes)
	placed = make([]Binding, 0, len(g.Tasks))
	for _, t := range g.Tasks {
		i, reason := pl.place(t)
		if reason != "" {
			refused = append(refused, Refusal{t, reason})
			continue
		}
		placed = append(placed, pl.bind(t, i))
	}
	return placed, refused
}

func newPlacement(g Group, nodes *Nodes) *placement {
	pl := &placement{g: g, n: nodes, load: nodes.service(g.ServiceID)}
	for _, f := range pipeline() {
		if !f.setTask(nodes, &pl.g) {
			continue
		}
		pl.all = append(pl.all, f)
		if !static(f) {
			pl.dynamic = append(pl.dynamic, f)
		}
	}
	return pl
}

// place finds the node for one task, or the reason why there is none.
func (pl *placement) place(t *cluster.Task) (int32, string) {
	if t.NodeID != "" {
		return pl.placeOn(t)
	}
	if i, ok := pl.placeAfter(t); ok {
		return i, ""
	}
	if pl.tree == nil {
		pl.tree = pl.grow(pl.candidates(), spreads(pl.g.Spec))
	}
	if i, ok := pl.take(pl.tree, t); ok {
		return i, ""
	}
	if pl.reason == "" {
		pl.reason = explain(pl.all, pl.n.each(), t)
	}
	return 0, pl.reason
}

// placeOn judges the one node that a task names.
func (pl *placement) placeOn(t *cluster.Task) (int32, string) {
	i, known := pl.n.index[t.NodeID]
	if !known {
		return 0, "no suitable node"
	}
	for _, f := range pl.all {
		if !f.check(i, t) {
			return 0, explain(pl.all, slices.Values([]int32{i}), t)
		}
	}
	return i, ""
}

// placeAfter puts a task that follows another in its slot where that one holds the host ports it needs.
func (pl *placement) placeAfter(t *cluster.Task) (int32, bool) {
	ports := hostPorts(pl.g.Spec)
	if !follows(t) || len(ports) == 0 {
		return 0, false
	}
	if pl.leaders == nil {
		pl.leaders = map[int][]int32{}
		for _, i := range pl.candidates() {
			user, taken := pl.n.ports[portKey{i, ports[0].PublishedPort, ports[0].Protocol}]
			if taken && user.service == pl.g.ServiceID {
				pl.leaders[user.slot] = append(pl.leaders[user.slot], i)
			}
		}
	}
	for _, i := range pl.leaders[t.Slot] {
		if pl.fits(i, t) {
			return i, true
		}
	}
	return 0, false
}

// fits says whether a node that the static filters allow can take t now.
func (pl *placement) fits(i int32, t *cluster.Task) bool {
	for _, f := range pl.dynamic {
		if !f.check(i, t) {
			return false
		}
	}
	return true
}

func (pl *placement) bind(t *cluster.Task, i int32) Binding {
	b := Binding{Task: t, NodeID: pl.n.nodes[i].ID}
	if want := wantGeneric(pl.g.Spec); len(want) > 0 {
		b.Generic = pl.n.generics(i).take(want)
		pl.n.generics(i).book(b.Generic, 1)
	}
	pl.n.hold(t, pl.g.Spec, i, 1)
	pl.n.bookPorts(t, pl.g.Spec, i, 1)
	return b
}

// candidates are the nodes that the static filters allow, in the order of their IDs. Services that ask for the same
// share them.
func (pl *placement) candidates() []int32 {
	key := pl.staticKey()
	if have, ok := pl.n.static[key]; ok && pl.n.staticAt.Equal(pl.n.Now) {
		return have
	}
	if !pl.n.staticAt.Equal(pl.n.Now) {
		clear(pl.n.static)
		pl.n.staticAt = pl.n.Now
	}
	out := make([]int32, 0, len(pl.n.nodes))
next:
	for i := range int32(len(pl.n.nodes)) {
		for _, f := range pl.all {
			if static(f) && !f.check(i, nil) {
				continue next
			}
		}
		out = append(out, i)
	}
	pl.n.static[key] = out
	return out
}

// staticKey names what the static filters look at.
func (pl *placement) staticKey() string {
	var b strings.Builder
	part := func(s string) { b.WriteString(s); b.WriteByte(0) }
	if p := pl.g.Spec.Task.Placement; p != nil {
		for _, c := range p.Constraints {
			part(c)
		}
		for _, pf := range p.Platforms {
			part("\x01" + pf.OS + "\x01" + pf.Architecture)
		}
	}
	for _, want := range wantPlugins(pl.g.Spec) {
		part("\x02" + want.Type + "\x02" + want.Name)
	}
	return b.String()
}

// ranks makes the heap of candidates.
func (pl *placement) ranks(candidates []int32) heap {
	h := make(heap, len(candidates))
	for k, i := range candidates {
		if pl.g.Binpack {
			h[k] = binpackRank(pl.n.total[i], i)
		} else {
			h[k] = spreadRank(0, pl.n.total[i], i)
		}
	}
	at := func(i int32) (int, bool) {
		return sort.Find(len(candidates), func(k int) int { return int(i) - int(candidates[k]) })
	}
	if !pl.g.Binpack {
		for i, own := range pl.load.tasks {
			if k, ok := at(i); ok {
				h[k] = spreadRank(own, pl.n.total[i], i)
			}
		}
	}
	for i := range pl.load.failures {
		if k, ok := at(i); ok && pl.n.failing(pl.load, i) {
			h[k] |= failingBit
		}
	}
	h.init()
	return h
}

// each runs over all nodes.
func (n *Nodes) each() iter.Seq[int32] {
	return func(yield func(int32) bool) {
		for i := range int32(len(n.nodes)) {
			if !yield(i) {
				return
			}
		}
	}
}
