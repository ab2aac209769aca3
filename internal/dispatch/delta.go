package dispatch

import (
	"slices"
	"sync"
	"sync/atomic"

	"shoal/internal/cluster"
)

// cell is a part of a world, worked out when it is first needed.
type cell[T any] struct {
	get    func() T
	serial uint64

	// What lies between another cell and this one is worked out once for all sessions, most of which come from the same.
	mu    sync.Mutex
	from  uint64 // its serial: a pointer would keep it, and all before it
	delta any
}

var serials atomic.Uint64

func newCell[T any](f func() T) *cell[T] {
	return &cell[T]{get: sync.OnceValue(f), serial: serials.Add(1)}
}

// since is what diff makes of the contents of old, which may be nil, and of this cell.
func since[T, D any](c, old *cell[T], diff func(old, now T) D) D {
	c.mu.Lock()
	defer c.mu.Unlock()
	var was T
	var from uint64
	if old != nil {
		from = old.serial
	}
	if d, ok := c.delta.(D); ok && c.from == from {
		return d
	}
	if old != nil {
		was = old.get()
	}
	d := diff(was, c.get())
	c.from, c.delta = from, d
	return d
}

type linkDelta struct {
	cluster.LinkDelta
	any bool
}

type portsDelta struct {
	ports    []cluster.Port
	services []string
}

// since is what leads from the parts that a node had at the index base to these; nil: nothing lies between.
func (p networkParts) since(q networkParts, base, index uint64) *cluster.NetworkDelta {
	d := &cluster.NetworkDelta{Base: base, Index: index}
	if p.nodes != q.nodes {
		d.NodesSet = true
		if p.nodes != nil {
			d.Nodes = p.nodes.get()
		}
	}
	switch {
	case p.ports == q.ports:
	case p.ports == nil:
		d.Ports, d.PortServices = cluster.DiffPorts(q.ports.get(), nil)
	default:
		change := since(p.ports, q.ports, func(old, now []cluster.Port) portsDelta {
			ports, services := cluster.DiffPorts(old, now)
			return portsDelta{ports, services}
		})
		d.Ports, d.PortServices = change.ports, change.services
	}
	for i, id := range p.ids {
		var old *cell[*cluster.NetworkLink]
		if at := slices.Index(q.ids, id); at >= 0 {
			old = q.links[at]
		}
		if old == p.links[i] {
			continue
		}
		if change := since(p.links[i], old, diffLinks); change.any {
			d.Networks = append(d.Networks, change.LinkDelta)
		} else if p.links[i].get() == nil && old != nil && old.get() != nil {
			d.Gone = append(d.Gone, id)
		}
	}
	for _, id := range q.ids {
		if !slices.Contains(p.ids, id) {
			d.Gone = append(d.Gone, id)
		}
	}
	if !d.NodesSet && len(d.PortServices)+len(d.Networks)+len(d.Gone) == 0 {
		return nil
	}
	return d
}

func diffLinks(old, now *cluster.NetworkLink) linkDelta {
	if now == nil {
		return linkDelta{}
	}
	d, any := cluster.DiffLinks(old, now)
	return linkDelta{d, any}
}
