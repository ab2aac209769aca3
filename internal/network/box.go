package network

import (
	"cmp"
	"encoding/json"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	api "github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/network/plan"
)

// box is a container's place as it is kept on disk.
type box struct {
	Request
	Places []place
	Bound  []swarm.PortConfig
	Names  bool   // asks 127.0.0.11
	Ready  bool   // all of it is in the kernel
	Owner  string // in mode container:<id>, the one whose namespace it is
}

// place is an interface of a container.
type place struct {
	NetworkID, NetworkName string
	Local                  bool
	Interface              string
	Addresses              []netip.Prefix
	Aliases                []string
	Gateways               []netip.Addr
	Default                bool
}

func (n *Network) boxPath(id string) string { return filepath.Join(n.config.RunDir, "box", id+".json") }

func (n *Network) saveBox(b *box) error {
	data, err := json.Marshal(b)
	if err != nil {
		return err
	}
	return writeFile(n.boxPath(b.ContainerID), data)
}

func (n *Network) removeBox(b *box) error {
	delete(n.boxes, b.ContainerID)
	n.mu.Lock()
	delete(n.ready, b.ContainerID)
	n.mu.Unlock()
	if err := os.Remove(n.boxPath(b.ContainerID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// loadBoxes reads the records of containers whose namespaces are alive. The others are of an earlier boot, or were being
// made when the process died: their containers never started.
func (n *Network) loadBoxes(alive map[plan.NS]bool) error {
	entries, err := os.ReadDir(filepath.Join(n.config.RunDir, "box"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(n.config.RunDir, "box", e.Name())
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		b := &box{}
		if json.Unmarshal(data, b) != nil || !b.Ready || b.hasSpace() && !alive[plan.ContainerNS(b.ContainerID)] {
			if err := os.Remove(path); err != nil {
				return err
			}
			continue
		}
		n.boxes[b.ContainerID] = b
	}
	for _, b := range n.boxes {
		n.publish(b)
	}
	return nil
}

// hasSpace tells whether the container has a network namespace of its own.
func (b *box) hasSpace() bool { return b.Mode != "host" && b.Owner == "" }

// publish makes the sandbox known.
func (n *Network) publish(b *box) {
	s := &Sandbox{Endpoints: map[string]*api.EndpointSettings{}, Ports: b.Bound, Bind: b.Bind}
	switch {
	case b.Owner != "":
		if owner := n.boxes[b.Owner]; owner != nil {
			s.Path, s.Nameserver = n.kernel.Path(plan.ContainerNS(b.Owner)), nameserver(owner.Names)
			if owner.Mode == "host" {
				s.Path = ""
			}
		}
	case b.hasSpace():
		s.Path, s.Nameserver = n.kernel.Path(plan.ContainerNS(b.ContainerID)), nameserver(b.Names)
	}
	for _, p := range b.Places {
		s.Endpoints[p.NetworkName] = b.endpoint(p)
	}
	if b.Mode == "host" || b.Mode == "none" {
		s.Endpoints[b.Mode] = &api.EndpointSettings{NetworkID: predefinedID(b.Mode), EndpointID: endpointID(b.ContainerID, b.Mode)}
	}
	n.mu.Lock()
	n.ready[b.ContainerID] = s
	n.mu.Unlock()
}

func nameserver(names bool) string {
	if names {
		return plan.Nameserver
	}
	return ""
}

func (b *box) endpoint(p place) *api.EndpointSettings {
	mac := plan.MACOf(b.ContainerID, p.NetworkID)
	e := &api.EndpointSettings{
		NetworkID: p.NetworkID, EndpointID: endpointID(b.ContainerID, p.NetworkID), MacAddress: mac[:],
		Aliases: p.Aliases, DNSNames: b.dnsNames(p),
	}
	for _, a := range p.Addresses {
		if a.Addr().Is4() {
			e.IPAddress, e.IPPrefixLen = a.Addr(), a.Bits()
		} else {
			e.GlobalIPv6Address, e.GlobalIPv6PrefixLen = a.Addr(), a.Bits()
		}
	}
	for _, g := range p.Gateways {
		if g.Is4() {
			e.Gateway = g
		} else {
			e.IPv6Gateway = g
		}
	}
	return e
}

// dnsNames are all names of the container in a network, the one for reverse look-ups first.
func (b *box) dnsNames(p place) []string {
	var out []string
	for _, name := range slices.Concat([]string{strings.TrimPrefix(b.Name, "/")}, p.Aliases, []string{short(b.ContainerID), b.Hostname}) {
		if name != "" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

func short(id string) string { return id[:min(len(id), 12)] }

// inOrder is all boxes by ID.
func (n *Network) inOrder() []*box {
	out := make([]*box, 0, len(n.boxes))
	for _, b := range n.boxes {
		out = append(out, b)
	}
	slices.SortFunc(out, func(a, b *box) int { return cmp.Compare(a.ContainerID, b.ContainerID) })
	return out
}
