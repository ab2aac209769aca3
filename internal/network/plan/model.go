package plan

import (
	"fmt"
	"hash/fnv"
	"net/netip"

	"github.com/google/nftables/expr"
)

// NS names a network namespace: the pin's name below the daemon's run directory.
type NS string

// HostNS is the namespace that the daemon runs in.
const HostNS NS = ""

// Kernel is everything of ours in a node's kernel. A namespace that is not in it does not exist.
type Kernel map[NS]*Namespace

// Namespace is what one network namespace holds of ours.
type Namespace struct {
	Links   map[string]Link
	Addrs   map[Addr]struct{}
	Routes  map[Dst]Route
	Rules   map[Rule]struct{}
	Neighs  map[Neigh]MAC
	FDB     map[Bridge]netip.Addr // where a VXLAN device sends frames for a MAC
	Sysctls map[string]string     // slashed path below /proc/sys
	Tables  map[TableID]*Table
	// Peers and Allowed are what WireGuard devices know of others; nil where there is none.
	Peers   map[Remote]netip.AddrPort
	Allowed map[Allowed]string // the key of the peer that the address is behind
}

// NewNamespace returns an empty one, loopback down.
func NewNamespace() *Namespace {
	return &Namespace{
		Links: map[string]Link{}, Addrs: map[Addr]struct{}{}, Routes: map[Dst]Route{}, Rules: map[Rule]struct{}{},
		Neighs: map[Neigh]MAC{}, FDB: map[Bridge]netip.Addr{}, Sysctls: map[string]string{}, Tables: map[TableID]*Table{},
	}
}

// Kind is a link's type.
type Kind string

// The kinds of links. A veth pair is made and removed at its Veth end; Peer is the other one.
const (
	Loopback Kind = "loopback"
	Veth     Kind = "veth"
	Peer     Kind = "peer"
	VXLAN    Kind = "vxlan"
)

// Link is a network device that is up.
type Link struct {
	Kind Kind
	MAC  MAC
	MTU  int
	// PeerNS and PeerName are the other end of a Veth. The kernel does not tell them, so they are not compared.
	PeerNS   NS
	PeerName string
	// VNI and Local are the network and the underlay address of a VXLAN device, which is made in the host's namespace
	// so that its underlay stays there.
	VNI   uint32
	Local netip.Addr
}

// MAC is an Ethernet address.
type MAC [6]byte

func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// Addr is an address on a link.
type Addr struct {
	Link   string
	Prefix netip.Prefix
	// NoRoute keeps the kernel from adding the prefix's route.
	NoRoute bool
}

// Dst is what a route leads to, one route each.
type Dst struct {
	Prefix netip.Prefix
	Table  int // 0: main
}

// Route is how packets get there. Local routes make an address the namespace's own.
type Route struct {
	Link  string
	Via   netip.Addr // a neighbour that need not lie in the link's subnet (onlink)
	Src   netip.Addr
	Local bool
}

// Rule sends marked packets to a routing table.
type Rule struct {
	Mark, Mask uint32
	Table      int
	V6         bool
}

// Neigh is a permanent neighbour's address on a link.
type Neigh struct {
	Link string
	IP   netip.Addr
}

// Bridge is a MAC behind a VXLAN device.
type Bridge struct {
	Link string
	MAC  MAC
}

// TableID names an nftables table. Family is ip, ip6, inet or netdev.
type TableID struct{ Family, Name string }

// Table is an nftables table. Tables are shared between plans and never changed once built.
type Table struct {
	Sets   map[string]*Set
	Chains map[string]*Chain
}

// NewTable returns an empty one.
func NewTable() *Table { return &Table{Sets: map[string]*Set{}, Chains: map[string]*Chain{}} }

// Type is the nftables type of a part of a set's key or value.
type Type string

// The types in use. Verdict values are "goto" a chain.
const (
	IPv4    Type = "ipv4_addr"
	IPv6    Type = "ipv6_addr"
	Proto   Type = "inet_proto"
	Port    Type = "inet_service"
	Mark    Type = "mark"
	Ether   Type = "ether_addr"
	Verdict Type = "verdict"
	Zone    Type = "ct_zone"
)

// Set is a named set, or a map when Data is not empty. Elements hold raw bytes as the kernel wants them, parts padded to
// four bytes; a verdict's value is its chain's name.
type Set struct {
	Key, Data []Type
	Elements  map[string]string
}

// Chain is a base chain when Hook is not empty.
type Chain struct {
	Type, Hook string
	Priority   int32
	Device     string // of the netdev family
	Rules      []RuleText
}

// RuleText is a rule: as nft(8) writes it, and as the kernel takes it. A rule that was read has neither, only its Mark.
type RuleText struct {
	Text  string
	Exprs []expr.Any
	Mark  string
}

// Fingerprint is what rules are compared by. It is kept with the rule in the kernel as its comment.
func (r RuleText) Fingerprint() string {
	if r.Mark != "" {
		return r.Mark
	}
	h := fnv.New64a()
	h.Write([]byte(r.Text))
	return fmt.Sprintf("shoal:%x", h.Sum64())
}
