package dns

import (
	"net/netip"
	"slices"
	"strings"
	"sync"

	"shoal/internal/cluster"
)

// Names is what can be asked about one network. Its tables are built when the first question comes, since most states are
// replaced unasked.
type Names struct {
	link  cluster.NetworkLink
	hosts []Host
	once  sync.Once
	names map[string][]netip.Addr
	back  map[netip.Addr]string
}

// Host is a container of this node under further names.
type Host struct {
	Names     []string // the first is the one that its address leads back to
	Addresses []netip.Addr
}

// NewNames takes a network of the cluster or, with hosts alone, one of the node's own.
func NewNames(link cluster.NetworkLink, hosts []Host) *Names { return &Names{link: link, hosts: hosts} }

func (n *Names) build() {
	n.names, n.back = map[string][]netip.Addr{}, map[netip.Addr]string{}
	live := map[string][]netip.Addr{}
	for _, e := range n.link.Endpoints {
		n.reverse(e.Name, e.Addresses)
		if !e.Live {
			continue
		}
		if e.ServiceID != "" {
			live[e.ServiceID] = append(live[e.ServiceID], e.Addresses...)
		}
		n.add(e.Name, e.Addresses)
		n.add(e.Hostname, e.Addresses)
		if e.ServiceID == "" {
			for _, alias := range e.Aliases {
				n.add(alias, e.Addresses)
			}
		}
	}
	for _, s := range n.link.Services {
		tasks := live[s.ServiceID]
		n.add("tasks."+s.Name, tasks)
		to := s.Addresses
		if len(to) == 0 {
			to = tasks
		}
		n.reverse(s.Name, s.Addresses)
		n.add(s.Name, to)
		for _, alias := range s.Aliases {
			n.add(alias, to)
			n.add("tasks."+alias, tasks)
		}
	}
	for _, h := range n.hosts {
		for _, name := range h.Names {
			n.add(name, h.Addresses)
		}
		if len(h.Names) > 0 {
			n.reverse(h.Names[0], h.Addresses)
		}
	}
}

func (n *Names) add(name string, to []netip.Addr) {
	if name = strings.ToLower(name); name == "" || len(to) == 0 {
		return
	}
	have := n.names[name]
next:
	for _, a := range to {
		for _, h := range have {
			if h == a {
				continue next
			}
		}
		have = append(slices.Clip(have), a)
	}
	n.names[name] = have
}

func (n *Names) reverse(name string, of []netip.Addr) {
	for _, a := range of {
		if n.back[a] == "" && name != "" {
			n.back[a] = name + "." + n.link.Name
		}
	}
}

// Lookup finds the addresses of a name in lower case, with or without the network's own name behind it.
func (n *Names) Lookup(name string) []netip.Addr {
	n.once.Do(n.build)
	if a := n.names[name]; a != nil {
		return a
	}
	if short, ok := strings.CutSuffix(name, "."+strings.ToLower(n.link.Name)); ok {
		return n.names[short]
	}
	return nil
}

// Reverse is the name of an address; empty when it has none. Ours tells whether the address is in the network at all.
func (n *Names) Reverse(a netip.Addr) (name string, ours bool) {
	n.once.Do(n.build)
	for _, p := range n.link.Subnets {
		ours = ours || p.Contains(a)
	}
	return n.back[a], ours
}
