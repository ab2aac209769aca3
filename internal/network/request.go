package network

import (
	"net/netip"

	api "github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// Request is a container's wish for its networks.
type Request struct {
	ContainerID, Name, Hostname string
	// Mode is "none", "host", "container:<id>", or empty for the networks below.
	Mode string
	// Overlays are places in swarm networks. Attach waits until the cluster's state names them. Interfaces are eth0,
	// eth1 … in the order of Overlays, the ingress network last of them, then Local.
	Overlays []cluster.Attachment
	Local    []LocalAttachment
	Ports    []swarm.PortConfig // published on this node alone; PublishedPort 0: any free one
	// Bind holds, at a port's index in Ports, the one address of the node it is published on; invalid or missing: all.
	Bind []netip.Addr
	DNS  []string // upstream name servers of this container; none: the node's
	// TaskID lets the container be found as an endpoint of the cluster's state; empty for a plain container.
	TaskID string
}

// LocalAttachment is a place in one of the node's own networks.
type LocalAttachment struct {
	Network    string // name or ID
	Aliases    []string
	IPv4, IPv6 netip.Addr // invalid: the next free one
}

// Sandbox is a container's place in its networks, ready to start in.
type Sandbox struct {
	// Path is the network namespace for the OCI spec; empty: the node's own.
	Path string
	// Endpoints is what inspect shows, by the network's name.
	Endpoints map[string]*api.EndpointSettings
	Ports     []swarm.PortConfig // as bound: PublishedPort is set
	Bind      []netip.Addr       // at each port's index; invalid: all addresses
	// Nameserver is the address for resolv.conf; empty: the node's own resolvers.
	Nameserver string
}
