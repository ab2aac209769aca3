package dispatch

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"shoal/internal/cluster"
)

// cell is a part of a world, worked out when it is first needed.
type cell[T any] struct {
	get    func() T
	serial uint64
	made   atomic.Pointer[T] // what get returned; nil: nobody has asked yet

	// What it is a patch of, nil when it is made anew; without the contents once its own are made.
	patch atomic.Pointer[patch[T]]

	// What lies between another cell and this one is worked out once for all sessions, most of which come from the same.
	mu    sync.Mutex
	from  uint64 // its serial: a pointer would keep it, and all before it
	delta any
}

var serials atomic.Uint64

func newCell[T any](f func() T) *cell[T] {
	c := &cell[T]{serial: serials.Add(1)}
	c.get = sync.OnceValue(func() T {
		v := f()
		c.made.Store(&v)
		return v
	})
	return c
}

// patch says that a cell differs from an older one in some items alone.
type patch[T any] struct {
	base   T
	serial uint64   // of the older cell
	items  []string // sorted
}

// maxItems bounds a patch: beyond it everything is looked at again.
const maxItems = 4096

// patched is a cell that differs from old in the items alone, as apply makes it of old's contents. What old itself is a patch of
// will do, or nobody would ask for the newest while changes come; when nothing is known of old, whole makes everything.
func patched[T any](old *cell[T], items []string, whole func() T, apply func(base T, items []string) T) *cell[T] {
	p := old.basis()
	if p == nil || len(p.items)+len(items) > maxItems {
		return newCell(whole)
	}
	p = &patch[T]{p.base, p.serial, slices.Concat(p.items, items)}
	slices.Sort(p.items)
	p.items = slices.Compact(p.items)
	c := &cell[T]{serial: serials.Add(1)}
	c.patch.Store(p)
	c.get = sync.OnceValue(func() T {
		v := apply(p.base, p.items)
		c.made.Store(&v)
		c.patch.Store(&patch[T]{serial: p.serial, items: p.items})
		return v
	})
	return c
}

// basis is what a patch of this cell can begin with; nil: nothing.
func (c *cell[T]) basis() *patch[T] {
	if c == nil {
		return nil
	}
	p := c.patch.Load() // first: it loses its contents after the cell's own are there
	if v := c.made.Load(); v != nil {
		return &patch[T]{base: *v, serial: c.serial}
	}
	return p
}

// differs are the items that may differ between old and this cell; false: any may.
func (c *cell[T]) differs(old *cell[T]) ([]string, bool) {
	p := c.patch.Load()
	if p == nil || old == nil || p.serial != old.serial {
		return nil, false
	}
	return p.items, true
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
			if services, ok := p.ports.differs(q.ports); ok {
				old, now = portsOf(old, services), portsOf(now, services)
			}
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
		change := since(p.links[i], old, func(was, now *cluster.NetworkLink) linkDelta {
			if tasks, ok := p.links[i].differs(old); ok && was != nil && now != nil {
				was, now = endpointsOf(was, tasks), endpointsOf(now, tasks)
			}
			return diffLinks(was, now)
		})
		if change.any {
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

// endpointsOf is a link with the endpoints of those tasks alone, and without its services.
func endpointsOf(l *cluster.NetworkLink, tasks []string) *cluster.NetworkLink {
	few := l.Head()
	for _, id := range tasks {
		at, found := slices.BinarySearchFunc(l.Endpoints, id, func(e cluster.Endpoint, id string) int { return strings.Compare(e.TaskID, id) })
		if found {
			few.Endpoints = append(few.Endpoints, l.Endpoints[at])
		}
	}
	return &few
}

// portsOf are the ports of those services alone.
func portsOf(list []cluster.Port, services []string) (few []cluster.Port) {
	for _, id := range services {
		at, _ := slices.BinarySearchFunc(list, id, func(p cluster.Port, id string) int { return strings.Compare(p.ServiceID, id) })
		for ; at < len(list) && list[at].ServiceID == id; at++ {
			few = append(few, list[at])
		}
	}
	return few
}
