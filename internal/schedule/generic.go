package schedule

import (
	"slices"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// generics is what a node has left of its generic resources.
type generics struct {
	count map[string]int64    // discrete, by kind
	names map[string][]string // named, by kind; sorted
}

// generics is node i's, made from its description when first asked for.
func (n *Nodes) generics(i int32) *generics {
	g := n.generic[i]
	if g != nil {
		return g
	}
	g = &generics{count: map[string]int64{}, names: map[string][]string{}}
	for _, r := range n.nodes[i].Description.Resources.GenericResources {
		switch {
		case r.DiscreteResourceSpec != nil:
			g.count[r.DiscreteResourceSpec.Kind] += r.DiscreteResourceSpec.Value
		case r.NamedResourceSpec != nil:
			g.give(r.NamedResourceSpec.Kind, r.NamedResourceSpec.Value)
		}
	}
	n.generic[i] = g
	return g
}

func (g *generics) give(kind, name string) {
	at, found := slices.BinarySearch(g.names[kind], name)
	if !found {
		g.names[kind] = slices.Insert(g.names[kind], at, name)
	}
}

// book takes (by 1) or gives back (by -1) what a task was given.
func (g *generics) book(given []swarm.GenericResource, by int) {
	for _, r := range given {
		switch {
		case r.DiscreteResourceSpec != nil:
			g.count[r.DiscreteResourceSpec.Kind] -= int64(by) * r.DiscreteResourceSpec.Value
		case r.NamedResourceSpec != nil && by < 0:
			g.give(r.NamedResourceSpec.Kind, r.NamedResourceSpec.Value)
		case r.NamedResourceSpec != nil:
			names := g.names[r.NamedResourceSpec.Kind]
			if at, found := slices.BinarySearch(names, r.NamedResourceSpec.Value); found {
				g.names[r.NamedResourceSpec.Kind] = slices.Delete(names, at, at+1)
			}
		}
	}
}

// enough says whether the node has what is asked for; a request is always a kind and a number.
func (g *generics) enough(want []swarm.GenericResource) bool {
	for _, r := range want {
		if d := r.DiscreteResourceSpec; d != nil && g.count[d.Kind]+int64(len(g.names[d.Kind])) < d.Value {
			return false
		}
	}
	return true
}

// take chooses what a task is given, named ones first and in their order. It books nothing.
func (g *generics) take(want []swarm.GenericResource) []swarm.GenericResource {
	var out []swarm.GenericResource
	for _, r := range want {
		d := r.DiscreteResourceSpec
		if d == nil {
			continue
		}
		names := g.names[d.Kind]
		n := min(int64(len(names)), d.Value)
		for _, name := range names[:n] {
			out = append(out, swarm.GenericResource{NamedResourceSpec: &swarm.NamedGenericResource{Kind: d.Kind, Value: name}})
		}
		if rest := d.Value - n; rest > 0 {
			out = append(out, swarm.GenericResource{DiscreteResourceSpec: &swarm.DiscreteGenericResource{Kind: d.Kind, Value: rest}})
		}
	}
	return out
}

func wantGeneric(spec *cluster.Spec) []swarm.GenericResource {
	if r := reservations(spec); r != nil {
		return r.GenericResources
	}
	return nil
}
