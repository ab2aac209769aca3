package schedule

import (
	"cmp"
	"slices"
	"strings"

	"shoal/internal/cluster"
)

// rebalanceTries bounds how many nodes are asked in vain for a task that would be better off elsewhere.
const rebalanceTries = 16

// Rebalance chooses at most most of the group's running tasks that a placing anew would put where they spread better:
// over the values of the spec's preferences first, then over the nodes, then by the load of the nodes. Every move makes
// one of these strictly more even and none before it less, so that moving comes to an end. Tasks on nodes that take no
// new ones stay. A group that packs its nodes has nothing to gain. The nodes are as before on return.
func Rebalance(g Group, most int, nodes *Nodes) []*cluster.Task {
	if g.Binpack {
		return nil
	}
	load := nodes.service(g.ServiceID)
	at := func(t *cluster.Task) int32 { return nodes.index[t.NodeID] }
	order := slices.Clone(g.Tasks)
	slices.SortFunc(order, func(a, b *cluster.Task) int {
		return cmp.Or(cmp.Compare(load.tasks[at(b)], load.tasks[at(a)]), cmp.Compare(nodes.total[at(b)], nodes.total[at(a)]),
			strings.Compare(a.NodeID, b.NodeID), cmp.Compare(b.Slot, a.Slot))
	})
	var moves []*cluster.Task
	stays := map[string]bool{} // what holds for one of equal tasks on a node holds for all
	for _, t := range order {
		if len(moves) == most || len(stays) == rebalanceTries {
			break
		}
		if stays[t.NodeID] {
			continue
		}
		to := relocate(g, t, nodes)
		if to == "" {
			stays[t.NodeID] = true
			continue
		}
		moves = append(moves, t)
		there := *t
		there.NodeID = to
		nodes.Remove(t, g.Spec)
		nodes.Add(&there, g.Spec)
		defer func() {
			nodes.Remove(&there, g.Spec)
			nodes.Add(t, g.Spec)
		}()
	}
	return moves
}

// relocate is the node where t would be better off; "" for none.
func relocate(g Group, t *cluster.Task, nodes *Nodes) string {
	from, known := nodes.index[t.NodeID]
	if !known {
		return ""
	}
	nodes.Remove(t, g.Spec)
	defer nodes.Add(t, g.Spec)
	pl := newPlacement(g, nodes)
	candidates := pl.candidates()
	if _, ok := slices.BinarySearch(candidates, from); !ok {
		return ""
	}
	labels := spreads(g.Spec)
	to, ok := pl.take(pl.grow(candidates, labels), t)
	if !ok || to == from || !pl.evener(candidates, labels, from, to) {
		return ""
	}
	return nodes.nodes[to].ID
}

// evener says whether a task that is booked on neither node makes its service spread better on to than on from.
func (pl *placement) evener(candidates []int32, labels []spreadLabel, from, to int32) bool {
	for _, label := range labels {
		a, b := label(pl.n.nodes[from]), label(pl.n.nodes[to])
		if a != b {
			return pl.ownOf(candidates, label, b) < pl.ownOf(candidates, label, a)
		}
		candidates = slices.DeleteFunc(slices.Clone(candidates), func(i int32) bool { return label(pl.n.nodes[i]) != a })
	}
	own := cmp.Compare(pl.load.tasks[to], pl.load.tasks[from])
	return own < 0 || own == 0 && pl.n.total[to] < pl.n.total[from]
}

// ownOf counts the service's tasks on the candidates with one value of a label.
func (pl *placement) ownOf(candidates []int32, label spreadLabel, value string) (n uint32) {
	for _, i := range candidates {
		if label(pl.n.nodes[i]) == value {
			n += pl.load.tasks[i]
		}
	}
	return n
}
