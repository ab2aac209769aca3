package dispatch

import (
	"maps"
	"runtime"
	"slices"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/rpc"
	"shoal/internal/store"
)

// world is what sessions work from: a view and what many of them need of it, worked out once and shared. It never
// changes; parts that a change did not touch are the same pointers as in the world before.
type world struct {
	view     store.View
	index    uint64 // everything up to it is in the parts below
	links    map[string]*cell[*cluster.NetworkLink]
	ports    *cell[[]cluster.Port]
	ingress  string // the ingress network's ID; empty while no port is published
	nodes    *cell[[]cluster.NodeLink]
	managers *cell[[]swarm.Peer]
	root     []byte
	period   time.Duration
	turns    turns
}

// turns bounds how many sessions work out their messages at once. When all nodes have something to hear, those that wait
// are then not in the way of whatever else this manager has to do: answer the API, and keep its lead.
type turns chan struct{}

func newTurns() turns { return make(turns, runtime.GOMAXPROCS(0)) }

// take waits for a turn and returns how to give it back. Nil: there is no bound.
func (t turns) take() (done func()) {
	if t == nil {
		return func() {}
	}
	t <- struct{}{}
	return func() { <-t }
}

// link returns the cell of a network, nil when nothing is known of it.
func (w *world) link(id string) *cell[*cluster.NetworkLink] { return w.links[id] }

// network is the state of the data plane of a node with tasks in those networks, and what it was made of: while that is
// the same, so is the state.
func (w *world) network(networks []string) networkParts {
	var parts networkParts
	seen := false
	for _, id := range networks {
		seen = seen || id == w.ingress
		if c := w.link(id); c != nil {
			parts.links = append(parts.links, c)
			parts.ids = append(parts.ids, id)
		}
	}
	if c := w.link(w.ingress); c != nil && !seen {
		parts.links = append(parts.links, c)
		parts.ids = append(parts.ids, w.ingress)
	}
	if len(parts.links) > 0 { // without a network a node needs no peers, and is not told of each node that joins
		parts.nodes = w.nodes
	}
	if w.ingress != "" {
		parts.ports = w.ports
	}
	return parts
}

// networkParts is what a network state is made of.
type networkParts struct {
	nodes *cell[[]cluster.NodeLink]
	ports *cell[[]cluster.Port]
	links []*cell[*cluster.NetworkLink]
	ids   []string
}

func (p networkParts) same(q networkParts) bool {
	if p.nodes != q.nodes || p.ports != q.ports || len(p.links) != len(q.links) {
		return false
	}
	for i := range p.links {
		if p.links[i] != q.links[i] {
			return false
		}
	}
	return true
}

func (p networkParts) state(index uint64) *cluster.NetworkState {
	state := &cluster.NetworkState{Index: index}
	if p.nodes != nil {
		state.Nodes = p.nodes.get()
	}
	if p.ports != nil {
		state.Ports = p.ports.get()
	}
	for _, c := range p.links {
		if link := c.get(); link != nil {
			state.Networks = append(state.Networks, *link)
		}
	}
	return state
}

// changes is what a new world must work out again.
type changes struct {
	all      bool            // everything: a term begins, or the watch fell behind
	networks map[string]bool // links, in anything
	// Links in the endpoints of some tasks: by network and task, the task's service.
	endpoints map[string]map[string]string
	nodes     bool
	managers  bool
	ports     bool
	cluster   bool
	sets      map[string]bool // nodes whose set of tasks or own object changed
	everyone  bool            // something that any node may hold changed
}

func (c *changes) none() bool {
	return !c.all && !c.nodes && !c.managers && !c.ports && !c.cluster && !c.everyone && len(c.networks)+len(c.endpoints)+len(c.sets) == 0
}

// next returns the world after those changes. published are the services with a port in the mesh, sorted.
func (w *world) next(view store.View, index uint64, c *changes, published func() []string) *world {
	n := *w
	n.view, n.index = view, index
	if c.all || c.cluster {
		n.root, n.period = nil, DefaultPeriod
		if cl := store.ClusterOf(view); cl != nil {
			n.root = cl.Root.Cert
			if p := cl.Spec.Dispatcher.HeartbeatPeriod; p > 0 {
				n.period = p
			}
		}
	}
	if c.all || c.nodes {
		n.nodes = newCell(func() []cluster.NodeLink { return NodeLinks(view) })
	}
	if c.all || c.managers {
		n.managers = newCell(func() []swarm.Peer { return rpc.Managers(view) })
	}
	n.relink(view, c)
	switch tasks := c.endpoints[n.ingress]; {
	case c.all || c.ports || len(c.networks) > 0:
		services := published()
		ingress := ingressID(view)
		n.ingress = ""
		if len(services) > 0 {
			n.ingress = ingress
		}
		if c.all || c.ports || c.networks[ingress] || c.endpoints[ingress] != nil {
			n.ports = newCell(func() []cluster.Port { return Ports(view, services, ingress) })
		}
	case len(tasks) > 0: // the ingress network is where it was, and the services with ports are the same
		ingress := n.ingress
		changed := slices.Compact(slices.Sorted(maps.Values(tasks)))
		n.ports = patched(w.ports, changed, func() []cluster.Port { return Ports(view, meshed(view), ingress) },
			func(was []cluster.Port, changed []string) []cluster.Port {
				return withPorts(view, was, changed, ingress)
			})
	}
	return &n
}

// relink renews the cells of the networks that changed.
func (w *world) relink(view store.View, c *changes) {
	if !c.all && len(c.networks)+len(c.endpoints) == 0 {
		return
	}
	links := make(map[string]*cell[*cluster.NetworkLink], len(w.links))
	renew := func(id string) {
		if store.Networks.Get(view, id) == nil {
			delete(links, id)
			return
		}
		links[id] = newCell(func() *cluster.NetworkLink { return Link(view, id) })
	}
	if c.all {
		for n := range store.Networks.All(view) {
			renew(n.ID)
		}
	} else {
		maps.Copy(links, w.links)
		for id, tasks := range c.endpoints {
			if old := links[id]; old != nil && !c.networks[id] {
				links[id] = relinked(view, id, old, slices.Sorted(maps.Keys(tasks)))
			}
		}
		for id := range c.networks {
			renew(id)
		}
	}
	w.links = links
}

// relinked is the link of a network in which some tasks have changed.
func relinked(view store.View, id string, old *cell[*cluster.NetworkLink], tasks []string) *cell[*cluster.NetworkLink] {
	whole := func() *cluster.NetworkLink { return Link(view, id) }
	return patched(old, tasks, whole, func(was *cluster.NetworkLink, tasks []string) *cluster.NetworkLink {
		if was == nil {
			return whole()
		}
		return withEndpoints(view, was, tasks)
	})
}
