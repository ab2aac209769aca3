package plan

import (
	"fmt"
	"net/netip"
	"slices"

	"shoal/internal/cluster"
)

// WireGuard is a device that encrypts what is routed to it. It is made with a key pair and a port of its own, which no
// plan knows.
const WireGuard Kind = "wireguard"

// Remote is another node's device as one of this node's knows it: its public key, base64.
type Remote struct{ Link, Key string }

// Allowed is an address behind a peer: what is sent to it goes to that peer, and what comes from it is taken from that peer
// alone.
type Allowed struct {
	Link   string
	Prefix netip.Prefix
}

// The things that an Op does to a WireGuard device.
type (
	PeerItem struct {
		Remote
		Endpoint netip.AddrPort
	}
	AllowedItem struct {
		Allowed
		Key string
	}
)

func (p PeerItem) String() string {
	return fmt.Sprintf("wg set %s peer %s endpoint %s", p.Link, p.Key, p.Endpoint)
}

func (a AllowedItem) String() string {
	return fmt.Sprintf("wg set %s peer %s allowed-ips +%s", a.Link, a.Key, a.Prefix)
}

// tunnelOp prints an operation on a WireGuard device as wg(8) has it.
func tunnelOp(o Op) string {
	if !o.Delete {
		return o.Item.String()
	}
	switch item := o.Item.(type) {
	case PeerItem:
		return fmt.Sprintf("wg set %s peer %s remove", item.Link, item.Key)
	case AllowedItem:
		return fmt.Sprintf("wg set %s peer %s allowed-ips -%s", item.Link, item.Key, item.Prefix)
	}
	return o.Item.String()
}

// The addresses that nodes have within an encrypted ingress network, for its VXLAN to run between. They lie beside the
// next hops, in the range for benchmarks, and never leave N.
var insideRange = netip.MustParsePrefix("198.19.0.0/20")

// inside is a node's address there.
func inside(number uint16) netip.Addr {
	return netip.AddrFrom4([4]byte{198, 19, byte(number >> 8), byte(number)})
}

// Inside tells a VXLAN device whose packets run through a tunnel of its own namespace, not through the host's.
func (l Link) Inside() bool { return l.Kind == VXLAN && insideRange.Contains(l.Local) }

// What the tunnels take of a packet: WireGuard's header and tag with those of UDP and IP, and a VXLAN's in front of them.
const (
	tunnelOverheadV4, tunnelOverheadV6 = 60, 80
	insideOverhead                     = 50
)

// Overhead is how many bytes less than the underlay's the links of a network may carry, with the underlay's addresses of
// this family.
func Overhead(n *Net, v6 bool) int {
	switch {
	case !n.Encrypted && v6:
		return 70
	case !n.Encrypted:
		return 50
	}
	size := tunnelOverheadV4
	if v6 {
		size = tunnelOverheadV6
	}
	if n.Ingress {
		size += insideOverhead
	}
	return size
}

// TunnelLink is the name of a network's device of one generation of keys, and GenerationOf the way back; 0: the link is
// no such device.
func TunnelLink(generation uint64) string { return fmt.Sprintf("wg%d", generation) }

// GenerationOf is the generation of keys of a device by its name; 0: it is none.
func GenerationOf(link string) (generation uint64) {
	if n, err := fmt.Sscanf(link, "wg%d", &generation); n != 1 || err != nil || TunnelLink(generation) != link {
		return 0
	}
	return generation
}

// encrypt puts a network's devices into N, one for each generation of keys that is in use: packets are taken from all of
// them, and sent by one. What goes to an address that no peer has is dropped there.
func encrypt(in Input, ns *Namespace, n *Net) {
	ns.Peers, ns.Allowed = map[Remote]netip.AddrPort{}, map[Allowed]string{}
	mtu := n.MTU
	if n.Ingress {
		mtu += insideOverhead
	}
	nodes := make(map[string]cluster.NodeLink, len(in.Nodes))
	for _, node := range in.Nodes {
		nodes[node.ID] = node
	}
	for _, ring := range n.Rings {
		link := TunnelLink(ring.Generation)
		ns.Links[link] = Link{Kind: WireGuard, MTU: mtu}
		keys := make(map[string]string, len(ring.Keys))
		for _, k := range ring.Keys {
			node, ok := nodes[k.NodeID]
			if !ok || k.NodeID == in.Self.ID {
				continue
			}
			keys[k.NodeID] = k.Public
			ns.Peers[Remote{link, k.Public}] = netip.AddrPortFrom(node.Addr, k.Port)
			if n.Ingress {
				ns.Allowed[Allowed{link, host(inside(node.Number))}] = k.Public
			}
		}
		if n.Ingress {
			continue
		}
		for _, e := range n.Endpoints {
			if key := keys[e.NodeID]; key != "" {
				for _, a := range e.Addresses {
					ns.Allowed[Allowed{link, host(a)}] = key
				}
			}
		}
	}
	if !slices.ContainsFunc(n.Rings, func(r cluster.Ring) bool { return r.Generation == n.Sends }) {
		return
	}
	out := TunnelLink(n.Sends)
	if !n.Ingress {
		for _, p := range n.Subnets {
			ns.Routes[Dst{Prefix: p}] = Route{Link: out}
		}
		return
	}
	// The mark that leads a reply of the mesh into the VXLAN is on the VXLAN's own packets too.
	ns.Addrs[Addr{Link: "lo", Prefix: host(inside(in.Self.Number))}] = struct{}{}
	for _, table := range []int{0, returnTable} {
		ns.Routes[Dst{Prefix: insideRange, Table: table}] = Route{Link: out}
	}
	peers(in, ns, n)
	vxlan := ns.Links[vxlanLink]
	vxlan.Local = inside(in.Self.Number)
	ns.Links[vxlanLink] = vxlan
	for _, node := range in.Nodes {
		if node.ID != in.Self.ID {
			ns.FDB[Bridge{vxlanLink, nodeMAC(node.Number)}] = inside(node.Number)
		}
	}
}

// tunnels adds what a namespace's devices lack: peers before the addresses behind them. An address that moves to another
// peer does so in one step.
func (d *differ) tunnels(have, want *Namespace) {
	for _, p := range missing(have.Peers, want.Peers, comparePeer) {
		d.add(PeerItem{p, want.Peers[p]})
	}
	for _, a := range missing(have.Allowed, want.Allowed, compareAllowed) {
		d.add(AllowedItem{a, want.Allowed[a]})
	}
}

// closings takes away what devices that stay have too much.
func (d *differ) closings(have, want *Namespace, gone func(link string) bool) {
	for _, a := range surplus(have.Allowed, want.Allowed, compareAllowed) {
		key := have.Allowed[a]
		if _, stays := want.Peers[Remote{a.Link, key}]; stays && !gone(a.Link) {
			d.del(AllowedItem{a, key})
		}
	}
	for _, p := range surplus(have.Peers, want.Peers, comparePeer) {
		if !gone(p.Link) {
			d.del(PeerItem{Remote: p})
		}
	}
}

func comparePeer(a, b Remote) int {
	return slices.Compare([]string{a.Link, a.Key}, []string{b.Link, b.Key})
}

func compareAllowed(a, b Allowed) int {
	return compareAddr(Addr{Link: a.Link, Prefix: a.Prefix}, Addr{Link: b.Link, Prefix: b.Prefix})
}
