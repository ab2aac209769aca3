package cluster

import (
	"cmp"
	"net/netip"

	"github.com/moby/moby/api/types/swarm"
)

// NetworkState is all that one node's data plane and DNS should know, derived from the store at Index. The same state
// may be sent twice. Order is by ID throughout, so that equal states encode to equal bytes.
type NetworkState struct {
	Index    uint64
	Nodes    []NodeLink    `json:",omitempty"` // every node that has a data address, this one too
	Networks []NetworkLink `json:",omitempty"` // the overlay networks that this node is on
	Ports    []Port        `json:",omitempty"` // the routing mesh: one entry per published ingress-mode port
}

// NodeLink is a node as the data plane knows it.
type NodeLink struct {
	ID     string
	Number uint16
	Addr   netip.Addr
}

// NetworkLink is one overlay network with everything in it.
type NetworkLink struct {
	ID, Name  string
	VNI       uint32
	Subnets   []netip.Prefix // at most one per family
	Gateways  []netip.Addr   // of the subnets, in their order
	MTU       int            `json:",omitempty"` // 0: the node's default
	Internal  bool           `json:",omitempty"`
	Ingress   bool           `json:",omitempty"`
	Encrypted bool           `json:",omitempty"`
	// Rings are the generations of keys that an encrypted network's packets are taken by, one, or two while they change;
	// Sends is the one that they are sent by.
	Rings     []Ring     `json:",omitempty"`
	Sends     uint64     `json:",omitempty"`
	Endpoints []Endpoint `json:",omitempty"` // every task with an address in the network, on any node
	Services  []VIP      `json:",omitempty"`
}

// Ring is one generation of an encrypted network's keys: of each node that is on the network, as far as it has said.
type Ring struct {
	Generation uint64
	Keys       []NodeKey `json:",omitempty"`
}

// NodeKey is a node's end of an encrypted network: the public key that it made, base64, and its UDP port.
type NodeKey struct {
	NodeID string
	Public string
	Port   uint16
}

// OwnKey is a key that a node has made for one generation of one network.
type OwnKey struct {
	NetworkID  string
	Generation uint64
	Public     string // base64
	Port       uint16
}

// Compare orders keys by network and generation.
func (k OwnKey) Compare(other OwnKey) int {
	return cmp.Or(cmp.Compare(k.NetworkID, other.NetworkID), cmp.Compare(k.Generation, other.Generation))
}

// Endpoint is one task's presence in a network.
type Endpoint struct {
	TaskID, NodeID string
	Name           string // the container's name, resolvable
	Hostname       string `json:",omitempty"`
	ServiceID      string `json:",omitempty"`
	Aliases        []string
	Addresses      []netip.Addr
	// Live says that the task is RUNNING, healthy and not draining: names and load balancing may lead to it.
	Live bool `json:",omitempty"`
}

// VIP is a service's virtual addresses in a network and the names that lead to it. Its backends are the live
// endpoints with its ServiceID.
type VIP struct {
	ServiceID string
	Name      string
	Aliases   []string     `json:",omitempty"`
	Addresses []netip.Addr `json:",omitempty"` // none: endpoint mode dnsrr
	Ports     []swarm.PortConfig
}

// Port is one published port of the routing mesh.
type Port struct {
	ServiceID string
	Config    swarm.PortConfig // PublishedPort is set
	Backends  []netip.Addr     // live tasks' addresses in the ingress network, of both families
	Bind      Bind             `json:",omitzero"`
}
