package allocate

import (
	"iter"
	"net/netip"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"

	"shoal/internal/cluster"
)

// Config is where subnets come from.
type Config struct {
	Pools      []netip.Prefix // IPv4 default address pools; none: 10.0.0.0/8
	SubnetSize int            // prefix length of subnets taken from the pools; 0: 24
}

// State knows what is in use. One goroutine at a time may use it.
type State struct {
	cfg      Config
	networks map[string]*networkState
	prefixes map[netip.Prefix]string // subnets in use, and whose
	vnis     numbers
	ingress  string // network ID
	ports    map[portKey]portOwner
	dynamic  map[network.IPProtocol]*numbers // ports in use of the dynamic range
	services map[string]*cluster.Service     // as booked
}

// New takes stock of the stored objects.
func New(cfg Config, networks iter.Seq[*cluster.Network], services iter.Seq[*cluster.Service], tasks iter.Seq[*cluster.Task]) *State {
	cfg.Pools = slices.DeleteFunc(slices.Clone(cfg.Pools), func(p netip.Prefix) bool { return !p.Addr().Is4() })
	if len(cfg.Pools) == 0 {
		cfg.Pools = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	}
	if cfg.SubnetSize == 0 {
		cfg.SubnetSize = 24
	}
	s := &State{
		cfg:      cfg,
		networks: map[string]*networkState{}, prefixes: map[netip.Prefix]string{},
		ports: map[portKey]portOwner{}, dynamic: map[network.IPProtocol]*numbers{}, services: map[string]*cluster.Service{},
	}
	for n := range networks {
		s.AddNetwork(n)
	}
	for svc := range services {
		s.AddService(svc)
	}
	for t := range tasks {
		s.AddTask(t)
	}
	return s
}

// NodeNumber is the lowest number from 1 to 4095 that no node has. ResourceExhausted: none is left.
func NodeNumber(nodes iter.Seq[*cluster.Node]) (uint16, error) {
	var used numbers
	for n := range nodes {
		used.add(uint64(n.Number))
	}
	if number, ok := used.free(1, 4096); ok {
		return uint16(number), nil
	}
	return 0, cluster.Errorf(errdefs.ErrResourceExhausted, "the cluster has 4095 nodes already, and no number is free for another")
}
