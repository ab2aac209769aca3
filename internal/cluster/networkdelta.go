package cluster

import (
	"cmp"
	"reflect"
	"slices"

	"github.com/containerd/errdefs"
)

// NetworkDelta leads from the state at Base to the one at Index, which holds everything that the delta does not name as it
// was. Lists are in the states' order.
type NetworkDelta struct {
	Base, Index uint64
	// Nodes are all nodes, when NodesSet says that they changed.
	Nodes    []NodeLink  `json:",omitempty"`
	NodesSet bool        `json:",omitempty"`
	Networks []LinkDelta `json:",omitempty"` // new or changed
	Gone     []string    `json:",omitempty"` // IDs of networks that the node is on no more
	// Ports replace those of the services of PortServices, IDs in order.
	Ports        []Port   `json:",omitempty"`
	PortServices []string `json:",omitempty"`
}

// LinkDelta is what changed in one network.
type LinkDelta struct {
	ID string
	// Head is the network without endpoints and services; nil: it is as it was. A network that is new has one.
	Head          *NetworkLink `json:",omitempty"`
	Endpoints     []Endpoint   `json:",omitempty"` // new or changed
	GoneEndpoints []string     `json:",omitempty"` // task IDs
	Services      []VIP        `json:",omitempty"` // new or changed
	GoneServices  []string     `json:",omitempty"` // IDs
}

// Head is a network without its endpoints and services.
func (l NetworkLink) Head() NetworkLink {
	l.Endpoints, l.Services = nil, nil
	return l
}

// DiffLinks is what changed between two states of one network; false: nothing. old may be nil.
func DiffLinks(old, now *NetworkLink) (LinkDelta, bool) {
	d := LinkDelta{ID: now.ID}
	var was NetworkLink
	if old != nil {
		was = *old
	}
	if head := now.Head(); old == nil || !reflect.DeepEqual(was.Head(), head) {
		d.Head = &head
	}
	d.Endpoints, d.GoneEndpoints = diffSorted(was.Endpoints, now.Endpoints, func(e *Endpoint) string { return e.TaskID }, (*Endpoint).same)
	d.Services, d.GoneServices = diffSorted(was.Services, now.Services, func(v *VIP) string { return v.ServiceID }, (*VIP).same)
	return d, d.Head != nil || len(d.Endpoints)+len(d.GoneEndpoints)+len(d.Services)+len(d.GoneServices) > 0
}

// DiffPorts is what changed between two lists of ports: the services concerned, and all ports of these now.
func DiffPorts(old, now []Port) (ports []Port, services []string) {
	for len(old)+len(now) > 0 {
		var id string
		switch {
		case len(old) == 0:
			id = now[0].ServiceID
		case len(now) == 0:
			id = old[0].ServiceID
		default:
			id = min(old[0].ServiceID, now[0].ServiceID)
		}
		was, is := portsOf(old, id), portsOf(now, id)
		if !slices.EqualFunc(old[:was], now[:is], Port.same) {
			services = append(services, id)
			ports = append(ports, now[:is]...)
		}
		old, now = old[was:], now[is:]
	}
	return ports, services
}

// portsOf counts the ports at a list's head that are a service's.
func portsOf(list []Port, id string) (n int) {
	for n < len(list) && list[n].ServiceID == id {
		n++
	}
	return n
}

// diffSorted compares two lists in order of their IDs.
func diffSorted[T any](old, now []T, id func(*T) string, same func(a, b *T) bool) (changed []T, gone []string) {
	for len(old) > 0 || len(now) > 0 {
		order := 0
		switch {
		case len(old) == 0:
			order = 1
		case len(now) == 0:
			order = -1
		default:
			order = cmp.Compare(id(&old[0]), id(&now[0]))
		}
		switch {
		case order < 0:
			gone = append(gone, id(&old[0]))
			old = old[1:]
		case order > 0:
			changed = append(changed, now[0])
			now = now[1:]
		default:
			if !same(&old[0], &now[0]) {
				changed = append(changed, now[0])
			}
			old, now = old[1:], now[1:]
		}
	}
	return changed, gone
}

func (e *Endpoint) same(o *Endpoint) bool {
	return e.TaskID == o.TaskID && e.NodeID == o.NodeID && e.Name == o.Name && e.Hostname == o.Hostname && e.ServiceID == o.ServiceID &&
		e.Live == o.Live && slices.Equal(e.Aliases, o.Aliases) && slices.Equal(e.Addresses, o.Addresses)
}

func (v *VIP) same(o *VIP) bool {
	return v.ServiceID == o.ServiceID && v.Name == o.Name && slices.Equal(v.Aliases, o.Aliases) && slices.Equal(v.Addresses, o.Addresses) &&
		slices.Equal(v.Ports, o.Ports)
}

func (p Port) same(o Port) bool {
	return p.ServiceID == o.ServiceID && p.Config == o.Config && slices.Equal(p.Backends, o.Backends) && p.Bind.Equal(o.Bind)
}

// With is the state that a delta leads to. It is an error of class failed precondition when the delta begins elsewhere.
func (s NetworkState) With(d NetworkDelta) (NetworkState, error) {
	if d.Base != s.Index {
		return s, Errorf(errdefs.ErrFailedPrecondition, "a change of the network state at %d does not lead on from %d", d.Base, s.Index)
	}
	s.Index = d.Index
	if d.NodesSet {
		s.Nodes = d.Nodes
	}
	s.Ports = d.PortsFrom(s.Ports)
	s.Networks = slices.DeleteFunc(slices.Clone(s.Networks), func(l NetworkLink) bool { return slices.Contains(d.Gone, l.ID) })
	for _, change := range d.Networks {
		at := slices.IndexFunc(s.Networks, func(l NetworkLink) bool { return l.ID == change.ID })
		if at < 0 {
			at = len(s.Networks)
			s.Networks = append(s.Networks, NetworkLink{ID: change.ID})
		}
		l := &s.Networks[at]
		endpoints := merge(l.Endpoints, change.Endpoints, change.GoneEndpoints, func(e *Endpoint) string { return e.TaskID })
		services := merge(l.Services, change.Services, change.GoneServices, func(v *VIP) string { return v.ServiceID })
		if change.Head != nil {
			*l = *change.Head
		}
		l.Endpoints, l.Services = endpoints, services
	}
	return s, nil
}

// PortsFrom is the list of ports that a delta leads to.
func (d NetworkDelta) PortsFrom(old []Port) []Port {
	if len(d.PortServices) == 0 {
		return old
	}
	out := make([]Port, 0, len(old)+len(d.Ports))
	for _, p := range old {
		if _, changed := slices.BinarySearch(d.PortServices, p.ServiceID); !changed {
			out = append(out, p)
		}
	}
	out = append(out, d.Ports...)
	slices.SortStableFunc(out, func(a, b Port) int { return cmp.Compare(a.ServiceID, b.ServiceID) })
	return out
}

// merge puts changed ones into a list in order of IDs, and takes those out that are gone.
func merge[T any](old, changed []T, gone []string, id func(*T) string) []T {
	if len(changed)+len(gone) == 0 {
		return old
	}
	out := make([]T, 0, len(old)+len(changed))
	for len(old) > 0 || len(changed) > 0 {
		switch {
		case len(changed) == 0 || len(old) > 0 && id(&old[0]) < id(&changed[0]):
			if _, left := slices.BinarySearch(gone, id(&old[0])); !left {
				out = append(out, old[0])
			}
			old = old[1:]
		default:
			if len(old) > 0 && id(&old[0]) == id(&changed[0]) {
				old = old[1:]
			}
			out = append(out, changed[0])
			changed = changed[1:]
		}
	}
	return out
}
