package network

import (
	"log/slog"
	"net/netip"

	"github.com/containerd/errdefs"

	"shoal/internal/cluster"
	"shoal/internal/network/tunnel"
)

// Config is what a node's network needs to know of its daemon.
type Config struct {
	NodeName string
	StateDir string // survives a reboot: the node's own networks and its containers' places
	RunDir   string // lives as long as this boot: the pins of network namespaces
	MTU      int    // of container links; 0: the underlay's, less the tunnel's 50 bytes in overlay networks
	DNS      []string
	// Pools are where subnets of the node's own networks come from; none: Docker's.
	Pools []Pool
	// WireGuard says where the devices of encrypted networks are made; empty: in the kernel where it has them, otherwise in
	// a process each, which holds TunnelMemory bytes (0: a default) and runs on TunnelProcessors (0: all).
	WireGuard        tunnel.Mode
	TunnelMemory     int64
	TunnelProcessors int
	// NoZones turns conntrack zones off on the mesh's return path.
	NoZones bool
	Log     *slog.Logger
	// Prefix begins the names of our links and tables in the daemon's own network namespace: at most six letters and
	// digits, unique among daemons that share one. Empty: "shoal".
	Prefix string

	host string // path of the namespace that counts as the daemon's own, in tests of several nodes
}

// Pool is a range that subnets of one size are cut from.
type Pool struct {
	Base netip.Prefix
	Size int // prefix length of each subnet
}

func (c *Config) check() error {
	if c.StateDir == "" || c.RunDir == "" {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "network: state and run directories must be set")
	}
	if c.Prefix == "" {
		c.Prefix = "shoal"
	}
	if len(c.Prefix) > 6 {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "network: prefix %q is longer than six characters, which link names have no room for", c.Prefix)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if len(c.Pools) == 0 {
		for second := 17; second < 32; second++ {
			c.Pools = append(c.Pools, Pool{netip.PrefixFrom(netip.AddrFrom4([4]byte{172, byte(second), 0, 0}), 16), 16})
		}
		c.Pools = append(c.Pools, Pool{netip.MustParsePrefix("192.168.0.0/16"), 20})
	}
	return nil
}
