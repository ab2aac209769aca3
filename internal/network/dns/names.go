package dns

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// Names is what can be asked about one network. It may be changed while questions are answered.
type Names struct {
	suffix  string // the network's name in lower case, behind a dot
	network string
	subnets []netip.Prefix

	mu    sync.RWMutex
	names map[string][]entry
	back  map[netip.Addr][]called
	ports map[string][]offer // by the names of services
}

// owner is whoever a name belongs to: endpoints before services before hosts, and by ID.
type owner struct {
	kind byte
	id   string
}

const (
	ofEndpoint = iota
	ofService
	ofHost
)

func (o owner) compare(p owner) int {
	return cmp.Or(cmp.Compare(o.kind, p.kind), cmp.Compare(o.id, p.id))
}

// entry is an owner's addresses under a name; lists never change once they are in it.
type entry struct {
	owner
	to []netip.Addr
}

type called struct {
	owner
	name string
}

// offer is the ports that a service publishes.
type offer struct {
	owner
	ports []swarm.PortConfig
}

// Host is a container of this node under further names.
type Host struct {
	Names     []string // the first is the one that its address leads back to
	Addresses []netip.Addr
}

// NewNames takes a network of the cluster or, with hosts alone, one of the node's own.
func NewNames(link cluster.NetworkLink, hosts []Host) *Names {
	n := &Names{
		suffix: "." + strings.ToLower(link.Name), network: link.Name, subnets: link.Subnets,
		names: make(map[string][]entry, len(link.Endpoints)+2*len(link.Services)),
		back:  make(map[netip.Addr][]called, len(link.Endpoints)+len(link.Services)),
		ports: map[string][]offer{},
	}
	n.members(link, n.add, n.reverse)
	n.publish(link)
	for i, h := range hosts {
		o := owner{ofHost, string(rune(i))}
		for _, name := range h.Names {
			n.add(o, name, h.Addresses)
		}
		if len(h.Names) > 0 {
			n.reverse(o, h.Names[0], h.Addresses)
		}
	}
	return n
}

// Change replaces some of a network's members. Both lists hold all endpoints of the services in them.
func (n *Names) Change(old, now cluster.NetworkLink) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.members(old, n.remove, n.forget)
	n.withdraw(old)
	n.members(now, n.add, n.reverse)
	n.publish(now)
}

// members calls name and back with all that a network's endpoints and services are called.
func (n *Names) members(link cluster.NetworkLink, name, back func(owner, string, []netip.Addr)) {
	live := make(map[string][]netip.Addr, len(link.Services))
	for i := range link.Endpoints {
		e := &link.Endpoints[i]
		o := owner{ofEndpoint, e.TaskID}
		back(o, e.Name, e.Addresses)
		if !e.Live {
			continue
		}
		name(o, e.Name, e.Addresses)
		name(o, e.Hostname, e.Addresses)
		if e.ServiceID != "" {
			live[e.ServiceID] = append(live[e.ServiceID], e.Addresses...)
			continue
		}
		for _, alias := range e.Aliases {
			name(o, alias, e.Addresses)
		}
	}
	for i := range link.Services {
		s := &link.Services[i]
		o := owner{ofService, s.ServiceID}
		tasks := live[s.ServiceID]
		to := s.Addresses
		if len(to) == 0 {
			to = tasks
		}
		back(o, s.Name, s.Addresses)
		name(o, s.Name, to)
		name(o, "tasks."+s.Name, tasks)
		for _, alias := range s.Aliases {
			name(o, alias, to)
			name(o, "tasks."+alias, tasks)
		}
	}
}

func (n *Names) add(o owner, name string, to []netip.Addr) {
	if name = strings.ToLower(name); name == "" || len(to) == 0 {
		return
	}
	list := n.names[name]
	at, there := slices.BinarySearchFunc(list, o, func(e entry, o owner) int { return e.compare(o) })
	if there { // an alias that is its own name
		list[at].to = union(list[at].to, to)
		return
	}
	n.names[name] = slices.Insert(list, at, entry{o, to})
}

// union is a list and what another has that it lacks.
func union(a, b []netip.Addr) []netip.Addr {
	out := slices.Clip(a)
	for _, addr := range b {
		if !slices.Contains(out, addr) {
			out = append(out, addr)
		}
	}
	return out
}

func (n *Names) remove(o owner, name string, _ []netip.Addr) {
	name = strings.ToLower(name)
	list := n.names[name]
	if at, there := slices.BinarySearchFunc(list, o, func(e entry, o owner) int { return e.compare(o) }); there {
		if list = slices.Delete(list, at, at+1); len(list) == 0 {
			delete(n.names, name)
			return
		}
		n.names[name] = list
	}
}

func (n *Names) reverse(o owner, name string, of []netip.Addr) {
	if name == "" {
		return
	}
	for _, a := range of {
		list := n.back[a]
		at, there := slices.BinarySearchFunc(list, o, func(c called, o owner) int { return c.compare(o) })
		if !there {
			n.back[a] = slices.Insert(list, at, called{o, name})
		}
	}
}

func (n *Names) forget(o owner, _ string, of []netip.Addr) {
	for _, a := range of {
		list := slices.DeleteFunc(n.back[a], func(c called) bool { return c.owner == o })
		if n.back[a] = list; len(list) == 0 {
			delete(n.back, a)
		}
	}
}

// Lookup finds the addresses of a name in lower case, with or without the network's own name behind it.
func (n *Names) Lookup(name string) []netip.Addr {
	n.mu.RLock()
	defer n.mu.RUnlock()
	list := n.names[name]
	if list == nil {
		short, ok := strings.CutSuffix(name, n.suffix)
		if !ok {
			return nil
		}
		list = n.names[short]
	}
	if len(list) == 0 {
		return nil
	}
	found := list[0].to
	for _, e := range list[1:] {
		found = union(found, e.to)
	}
	return found
}

// Reverse is the name of an address; empty when it has none. Ours tells whether the address is in the network at all.
func (n *Names) Reverse(a netip.Addr) (name string, ours bool) {
	for _, p := range n.subnets {
		ours = ours || p.Contains(a)
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	if list := n.back[a]; len(list) > 0 {
		name = list[0].name + "." + n.network
	}
	return name, ours
}
