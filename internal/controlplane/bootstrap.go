package controlplane

import (
	"net/netip"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/ca"
	"shoal/internal/cluster"
	"shoal/internal/store"
)

// predefined are the networks that every node has of its own; the swarm knows them by name, so that services can name
// them.
var predefined = [...]string{"bridge", "host", "none"}

// Sizes and ports of a new swarm where the caller leaves them open.
const (
	defaultSubnetSize   = 24
	defaultDataPathPort = 4789
)

var (
	defaultPool   = netip.MustParsePrefix("10.0.0.0/8")
	ingressSubnet = netip.MustParsePrefix("10.0.0.0/24")
)

// Bootstrap writes a new swarm's first objects: the cluster c with its defaults filled in, its first manager n, the
// ingress network and the networks that every node has. c has its trust (root, tokens) already, n its certificate.
func Bootstrap(tx *store.Tx, c *cluster.Cluster, n *cluster.Node) error {
	spec, err := mergeSwarmSpec(DefaultSwarmSpec(), c.Spec)
	if err != nil {
		return err
	}
	c.Spec = spec
	if c.ID == "" {
		c.ID = cluster.NewID()
	}
	if len(c.DefaultAddrPool) == 0 {
		c.DefaultAddrPool = []netip.Prefix{defaultPool}
	}
	if c.SubnetSize == 0 {
		c.SubnetSize = defaultSubnetSize
	}
	if c.DataPathPort == 0 {
		c.DataPathPort = defaultDataPathPort
	}
	if c.Spec.EncryptionConfig.AutoLockManagers && c.UnlockKey == nil {
		c.UnlockKey = ca.NewUnlockKey()
	}
	store.Clusters.Put(tx, c)

	if n.Number == 0 {
		n.Number = 1
	}
	if n.Spec.Labels == nil {
		n.Spec.Labels = map[string]string{}
	}
	store.Nodes.Put(tx, n)
	for _, name := range predefined {
		putPredefined(tx, name)
	}
	return putIngress(tx, c)
}

func putPredefined(tx *store.Tx, name string) {
	driver := name
	if name == "none" {
		driver = "null"
	}
	n := &cluster.Network{}
	n.ID = cluster.NewID()
	n.Spec = swarm.NetworkSpec{
		Annotations:         swarm.Annotations{Name: name, Labels: map[string]string{cluster.PredefinedLabel: "true"}},
		DriverConfiguration: &swarm.Driver{Name: driver},
		Scope:               "swarm",
	}
	n.DriverState = swarm.Driver{Name: driver}
	store.Networks.Put(tx, n)
}

// putIngress makes the network of the routing mesh: 10.0.0.0/24 as in Docker where the pools hold it, else their first
// free subnet, and an IPv6 subnet, so that published ports answer to clients of both families.
func putIngress(tx *store.Tx, c *cluster.Cluster) error {
	n := &cluster.Network{}
	n.ID = cluster.NewID()
	n.Spec = swarm.NetworkSpec{
		Annotations:         swarm.Annotations{Name: "ingress", Labels: map[string]string{"com.docker.swarm.internal": "true"}},
		DriverConfiguration: &swarm.Driver{Name: overlayDriver},
		Ingress:             true,
		IPv6Enabled:         true,
		Scope:               "swarm",
		IPAMOptions:         &swarm.IPAMOptions{},
	}
	for _, pool := range c.DefaultAddrPool {
		if pool.Contains(ingressSubnet.Addr()) && pool.Bits() <= ingressSubnet.Bits() {
			n.Spec.IPAMOptions.Configs = []swarm.IPAMConfig{{Subnet: ingressSubnet, Gateway: ingressSubnet.Addr().Next()}}
		}
	}
	if err := stock(tx, nil).Network(n); err != nil {
		return err
	}
	store.Networks.Put(tx, n)
	return nil
}
