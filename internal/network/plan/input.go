package plan

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"

	"shoal/internal/cluster"
)

// Input is the node's own facts. All slices are in an order of their own making: equal inputs give equal plans.
type Input struct {
	Prefix string           // begins the names of what we put into the daemon's own namespace
	Self   cluster.NodeLink // zero: not in a swarm
	Nodes  []cluster.NodeLink
	Zones  bool
	// Networks are those that exist on this node now, overlays and the node's own.
	Networks []*Net
	// Mesh is the published ports of the routing mesh, HostPorts those of single containers of this node.
	Mesh      []cluster.Port
	HostPorts []HostPort
	// Addresses are the node's own, for ports of the mesh that are bound to some of them, and Links the interfaces that have them.
	Addresses []netip.Addr
	Links     map[netip.Addr]string
}

// Net is a network with this node's containers in it.
type Net struct {
	cluster.NetworkLink        // of the node's own networks: ID, Name, Subnets, Gateways, Internal
	Local               bool   // the node's own: no VXLAN
	Number              uint32 // of the node's own networks, unique on the node
	Places              []Place
	// Rest is for a network that does not list all of its members.
	Rest Rest
}

// Place is one container's interface in a network.
type Place struct {
	Container string // its ID
	Interface string // eth0 …
	Addrs     []netip.Prefix
}

// HostPort is a port of this node that leads to one container.
type HostPort struct {
	Proto     string
	Published uint16
	Bind      netip.Addr // invalid: every address of the node
	Target    []netip.Addr
	Port      uint16
}

// key is short and unique among the node's networks.
func (n *Net) key() string {
	if n.Local {
		return fmt.Sprintf("b%x", n.Number)
	}
	return fmt.Sprintf("%x", n.VNI)
}

// NS is the namespace N of the network.
func (n *Net) NS() NS { return NS("n-" + n.key()) }

// ContainerNS is the namespace of a container.
func ContainerNS(id string) NS { return NS("c-" + id[:min(len(id), 16)]) }

// uplink is the host's end of the network's uplink.
func (n *Net) uplink(prefix string) string { return prefix + "-" + n.key() }

func (n *Net) hasUplink() bool { return !n.Internal || n.Ingress }

func (n *Net) has(f family) bool {
	return slices.ContainsFunc(n.Subnets, func(p netip.Prefix) bool { return f.holds(p.Addr()) })
}

// nodeMAC is the address of a node's VXLAN devices.
func nodeMAC(number uint16) MAC { return MAC{0x02, 0x53, 0x48, 0x4c, byte(number >> 8), byte(number)} }

// placeholder is rewritten to a node's MAC when a packet of the mesh goes back the way it came.
var placeholder = MAC{0x02, 0x53, 0x48, 0xff, 0xff, 0xfe}

// hop is the next hop that stands for a node within N.
func (f family) nextHop(number uint16) netip.Addr {
	if f.v6 {
		return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 13: 1, 14: byte(number >> 8), 15: byte(number)})
	}
	return netip.AddrFrom4([4]byte{198, 18, byte(number >> 8), byte(number)})
}

// markOf is the packet mark of a node; markBit tells it from other marks.
func markOf(number uint16) uint32 { return markBit | uint32(number) }

const (
	markBit     = 0x10000
	returnTable = 100
)

// named hashes words to a link name and a MAC of their own.
func named(begin string, words ...string) (string, MAC) {
	h := fnv.New64a()
	for _, w := range words {
		h.Write([]byte(w))
		h.Write([]byte{0})
	}
	b := h.Sum(nil)
	return fmt.Sprintf("%s%x", begin, b[:5]), MAC{0x02, b[0], b[1], b[2], b[3], b[4]}
}

func byAddr(a, b netip.Addr) int { return a.Compare(b) }

// backends are the live tasks of each service in the network, by address.
func backends(n *Net, f family) map[string][]netip.Addr {
	out := map[string][]netip.Addr{}
	for _, e := range n.Endpoints {
		if !e.Live || e.ServiceID == "" {
			continue
		}
		for _, a := range e.Addresses {
			if f.holds(a) {
				out[e.ServiceID] = append(out[e.ServiceID], a)
			}
		}
	}
	for id := range out {
		slices.SortFunc(out[id], byAddr)
	}
	return out
}
