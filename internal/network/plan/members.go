package plan

import (
	"maps"
	"net/netip"
	"slices"

	"shoal/internal/cluster"
)

// Members are the endpoints and services of one network, indexed so that a change is planned from what it concerns alone:
// the endpoints and services that it names, and all endpoints of those services. They are changed in place.
type Members struct {
	endpoints map[string]*cluster.Endpoint // by task
	services  map[string]*cluster.VIP
	tasks     map[string][]string // endpoints of a service, in no order
	nodes     map[string]int      // endpoints on a node
	sizes     map[Size]int        // services with as many backends
}

// Size is a number of backends in one family.
type Size struct {
	V6    bool
	Count int
}

// Rest is what a part of a network must know of members that it does not list.
type Rest struct {
	Services int      // how many there are
	Nodes    []string // with endpoints
	Sizes    []Size
}

// NewMembers indexes a network's. The link's lists must not change afterwards.
func NewMembers(l *cluster.NetworkLink) *Members {
	m := &Members{
		endpoints: make(map[string]*cluster.Endpoint, len(l.Endpoints)), services: make(map[string]*cluster.VIP, len(l.Services)),
		tasks: make(map[string][]string, len(l.Services)), nodes: map[string]int{}, sizes: map[Size]int{},
	}
	for i := range l.Endpoints {
		m.put(&l.Endpoints[i])
	}
	for i := range l.Services {
		m.services[l.Services[i].ServiceID] = &l.Services[i]
	}
	for id := range m.services {
		m.count(id, 1)
	}
	return m
}

func (m *Members) put(e *cluster.Endpoint) {
	m.endpoints[e.TaskID] = e
	m.nodes[e.NodeID]++
	if e.ServiceID != "" {
		m.tasks[e.ServiceID] = append(m.tasks[e.ServiceID], e.TaskID)
	}
}

func (m *Members) drop(id string) {
	e := m.endpoints[id]
	if e == nil {
		return
	}
	delete(m.endpoints, id)
	if m.nodes[e.NodeID]--; m.nodes[e.NodeID] == 0 {
		delete(m.nodes, e.NodeID)
	}
	if e.ServiceID == "" {
		return
	}
	list := m.tasks[e.ServiceID]
	if i := slices.Index(list, id); i >= 0 {
		list[i] = list[len(list)-1]
		m.tasks[e.ServiceID] = list[:len(list)-1]
	}
	if len(m.tasks[e.ServiceID]) == 0 {
		delete(m.tasks, e.ServiceID)
	}
}

// count adds a service to the numbers of those of its size.
func (m *Members) count(service string, by int) {
	s := m.services[service]
	if s == nil {
		return
	}
	for _, f := range families {
		if !slices.ContainsFunc(s.Addresses, f.holds) {
			continue
		}
		size := Size{V6: f.v6}
		for _, id := range m.tasks[service] {
			if e := m.endpoints[id]; e.Live {
				for _, a := range e.Addresses {
					if f.holds(a) {
						size.Count++
					}
				}
			}
		}
		if m.sizes[size] += by; m.sizes[size] == 0 {
			delete(m.sizes, size)
		}
	}
}

// Rest is what of all members no list says.
func (m *Members) Rest() Rest {
	r := Rest{Services: len(m.services), Nodes: slices.Collect(maps.Keys(m.nodes))}
	r.Sizes = slices.Collect(maps.Keys(m.sizes))
	return r
}

// Into lists all members in a network's link.
func (m *Members) Into(l *cluster.NetworkLink) {
	l.Endpoints, l.Services = values(m.endpoints), values(m.services)
}

func values[T any](all map[string]*T) []T {
	out := make([]T, 0, len(all))
	for _, id := range slices.Sorted(maps.Keys(all)) {
		out = append(out, *all[id])
	}
	return out
}

// Part is some members of a network, with what the others must be known for.
type Part struct {
	Endpoints []cluster.Endpoint
	Services  []cluster.VIP
	Rest      Rest
}

// Of is a network with those members alone.
func (p Part) Of(n *Net) *Net {
	c := *n
	c.Endpoints, c.Services, c.Rest = p.Endpoints, p.Services, p.Rest
	return &c
}

// Change makes a change and returns what it concerns, as it was and as it is: [Overlay] of both differ in just what the
// whole network's do.
func (m *Members) Change(d cluster.LinkDelta) (before, after Part) {
	c := concerned{services: map[string]bool{}, tasks: map[string]bool{}, nodes: map[string]bool{}}
	for i := range d.Services {
		c.services[d.Services[i].ServiceID] = true
	}
	for _, id := range d.GoneServices {
		c.services[id] = true
	}
	for i := range d.Endpoints {
		c.endpoint(&d.Endpoints[i])
		c.endpoint(m.endpoints[d.Endpoints[i].TaskID])
	}
	for _, id := range d.GoneEndpoints {
		c.endpoint(m.endpoints[id])
	}
	before = m.part(c)
	for id := range c.services {
		m.count(id, -1)
	}
	for _, id := range d.GoneEndpoints {
		m.drop(id)
	}
	for i := range d.Endpoints {
		m.drop(d.Endpoints[i].TaskID)
		m.put(&d.Endpoints[i])
	}
	for _, id := range d.GoneServices {
		delete(m.services, id)
	}
	for i := range d.Services {
		m.services[d.Services[i].ServiceID] = &d.Services[i]
	}
	for id := range c.services {
		m.count(id, 1)
	}
	return before, m.part(c)
}

// concerned is what a change names.
type concerned struct{ services, tasks, nodes map[string]bool }

func (c concerned) endpoint(e *cluster.Endpoint) {
	if e == nil {
		return
	}
	c.tasks[e.TaskID], c.nodes[e.NodeID] = true, true
	if e.ServiceID != "" {
		c.services[e.ServiceID] = true
	}
}

func (m *Members) part(c concerned) Part {
	var p Part
	tasks := maps.Clone(c.tasks)
	for _, id := range slices.Sorted(maps.Keys(c.services)) {
		if s := m.services[id]; s != nil {
			p.Services = append(p.Services, *s)
		}
		for _, task := range m.tasks[id] {
			tasks[task] = true
		}
	}
	for _, id := range slices.Sorted(maps.Keys(tasks)) {
		if e := m.endpoints[id]; e != nil {
			p.Endpoints = append(p.Endpoints, *e)
		}
	}
	p.Rest = Rest{Services: len(m.services), Sizes: slices.Collect(maps.Keys(m.sizes))}
	for id := range c.nodes {
		if m.nodes[id] > 0 {
			p.Rest.Nodes = append(p.Rest.Nodes, id)
		}
	}
	return p
}

// Left are the addresses of endpoints that now lacks.
func (m *Members) Left(now *Members) map[netip.Addr]bool {
	left := map[netip.Addr]bool{}
	for id, e := range m.endpoints {
		if stays := now.endpoints[id]; stays == nil || !slices.Equal(stays.Addresses, e.Addresses) {
			for _, a := range e.Addresses {
				left[a] = true
			}
		}
	}
	if len(left) == 0 {
		return left
	}
	for _, e := range now.endpoints {
		for _, a := range e.Addresses {
			delete(left, a)
		}
	}
	return left
}
