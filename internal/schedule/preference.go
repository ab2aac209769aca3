package schedule

import (
	"slices"
	"strings"

	"shoal/internal/cluster"
)

// branch is a set of nodes that share the values of the preferences above it: a leaf with its nodes as a heap, or an
// inner branch with one child per value of its preference.
type branch struct {
	own      uint32 // tasks of the service on its nodes
	nodes    heap
	children []*branch
	order    heap // of children: own, then place
}

// spreadLabel reads what a preference spreads over.
type spreadLabel func(*cluster.Node) string

// spreads are the labels of spec's preferences, outermost first. What is no label preference is passed over.
func spreads(spec *cluster.Spec) []spreadLabel {
	if spec.Task.Placement == nil {
		return nil
	}
	var out []spreadLabel
	for _, p := range spec.Task.Placement.Preferences {
		if p.Spread == nil {
			continue
		}
		if key, ok := cutPrefixFold(p.Spread.SpreadDescriptor, nodeLabels); ok {
			out = append(out, func(n *cluster.Node) string { return n.Spec.Labels[key] })
		} else if key, ok := cutPrefixFold(p.Spread.SpreadDescriptor, engineLabels); ok {
			out = append(out, func(n *cluster.Node) string { return n.Description.Engine.Labels[key] })
		} else if strings.EqualFold(p.Spread.SpreadDescriptor, "node.id") {
			out = append(out, func(n *cluster.Node) string { return n.ID })
		} else if strings.EqualFold(p.Spread.SpreadDescriptor, "node.hostname") {
			out = append(out, func(n *cluster.Node) string { return n.Description.Hostname })
		}
	}
	return out
}

// grow makes the tree over candidates, which are in the order of their IDs. Nodes without a label are together.
func (pl *placement) grow(candidates []int32, labels []spreadLabel) *branch {
	if len(labels) == 0 {
		b := &branch{nodes: pl.ranks(candidates)}
		for _, i := range candidates {
			b.own += pl.load.tasks[i]
		}
		return b
	}
	values := map[string][]int32{}
	var names []string
	for _, i := range candidates {
		v := labels[0](pl.n.nodes[i])
		if values[v] == nil {
			names = append(names, v)
		}
		values[v] = append(values[v], i)
	}
	slices.Sort(names)
	b := &branch{}
	for k, name := range names {
		child := pl.grow(values[name], labels[1:])
		b.children = append(b.children, child)
		b.own += child.own
		b.order = append(b.order, uint64(child.own)<<32|uint64(k))
	}
	b.order.init()
	return b
}

// take finds the node for t below b and counts it; false: no node there can take a task of this group any more.
func (pl *placement) take(b *branch, t *cluster.Task) (int32, bool) {
	if b.children == nil {
		return pl.takeNode(b, t)
	}
	for len(b.order) > 0 {
		k := b.order[0] & (1<<32 - 1)
		if i, ok := pl.take(b.children[k], t); ok {
			b.own++
			b.order.replace(uint64(b.children[k].own)<<32 | k)
			return i, true
		}
		b.order.pop()
	}
	return 0, false
}

func (pl *placement) takeNode(b *branch, t *cluster.Task) (int32, bool) {
	for len(b.nodes) > 0 {
		i := rankIndex(b.nodes[0])
		if !pl.fits(i, t) {
			b.nodes.pop()
			continue
		}
		failing := b.nodes[0] & failingBit
		if pl.g.Binpack {
			b.nodes.replace(binpackRank(pl.n.total[i]+1, i) | failing)
		} else {
			b.nodes.replace(b.nodes[0] + 1<<ownShift + 1<<totalShift)
		}
		b.own++
		return i, true
	}
	return 0, false
}
