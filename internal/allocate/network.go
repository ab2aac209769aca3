package allocate

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// VNIs are given from firstVNI up; networks may ask for any of their own with VNIOption.
const (
	firstVNI = 4097
	endVNI   = 1 << 24
	// VNIOption is the driver option that holds the VNI, under the name that Docker gives it.
	VNIOption = "com.docker.network.driver.overlay.vxlanid_list"
)

// networkState is one overlay network's addresses.
type networkState struct {
	id, name string
	vni      uint32
	subnets  []*subnet // at most one per family, IPv4 first
}

// overlay says whether addresses of the network are ours to give.
func overlay(n *cluster.Network) bool { return !n.Predefined() && n.Driver() == "overlay" }

// AddNetwork books a stored network. One that has no VNI or subnet yet is passed over. Attachments to networks that the
// nodes have of their own carry no address.
func (s *State) AddNetwork(n *cluster.Network) {
	if !overlay(n) {
		s.networks[n.ID] = &networkState{id: n.ID, name: n.Spec.Name}
		return
	}
	if n.VNI == 0 || n.IPAMOptions == nil || s.networks[n.ID] != nil {
		return
	}
	ns := &networkState{id: n.ID, name: n.Spec.Name, vni: n.VNI}
	aux := slices.Collect(maps.Values(n.Aux))
	for _, c := range n.IPAMOptions.Configs {
		ns.subnets = append(ns.subnets, newSubnet(c.Subnet, c.Range, c.Gateway, aux))
		s.prefixes[c.Subnet.Masked()] = n.ID
	}
	s.vnis.add(uint64(n.VNI))
	s.networks[n.ID] = ns
	if n.Spec.Ingress {
		s.ingress = n.ID
	}
}

// ReleaseNetwork gives back a removed network's VNI and subnets.
func (s *State) ReleaseNetwork(n *cluster.Network) {
	ns := s.networks[n.ID]
	if ns == nil {
		return
	}
	for _, sub := range ns.subnets {
		delete(s.prefixes, sub.prefix)
	}
	s.vnis.remove(uint64(ns.vni))
	delete(s.networks, n.ID)
	if s.ingress == n.ID {
		s.ingress = ""
	}
}

// Network fills n's VNI, IPAMOptions and DriverState (n is the caller's own copy) and books them. A network that has
// them, or that is none of ours, stays as it is. On an error nothing is taken: InvalidArgument when the user's subnet
// cannot be had, ResourceExhausted when no subnet or VNI is left.
func (s *State) Network(n *cluster.Network) error {
	if !overlay(n) || s.networks[n.ID] != nil {
		return nil
	}
	if n.VNI != 0 && n.IPAMOptions != nil {
		s.AddNetwork(n)
		return nil
	}
	vni, err := s.vni(n)
	if err != nil {
		return err
	}
	configs, err := s.ipam(n)
	if err != nil {
		return err
	}
	n.VNI = vni
	n.IPAMOptions = &swarm.IPAMOptions{Driver: swarm.Driver{Name: "default"}, Configs: configs}
	options := map[string]string{}
	if n.Spec.DriverConfiguration != nil {
		maps.Copy(options, n.Spec.DriverConfiguration.Options)
	}
	options[VNIOption] = strconv.FormatUint(uint64(vni), 10)
	n.DriverState = swarm.Driver{Name: "overlay", Options: options}
	s.AddNetwork(n)
	return nil
}

// vni is the one the user asked for, or the lowest that is free.
func (s *State) vni(n *cluster.Network) (uint32, error) {
	if n.Spec.DriverConfiguration != nil {
		if list := n.Spec.DriverConfiguration.Options[VNIOption]; list != "" {
			first, _, _ := strings.Cut(list, ",")
			v, err := strconv.ParseUint(strings.TrimSpace(first), 10, 24)
			if err != nil || v == 0 {
				return 0, cluster.Errorf(errdefs.ErrInvalidArgument, "invalid vxlan id value %q passed", first)
			}
			if s.vnis.has(v) {
				return 0, cluster.Errorf(errdefs.ErrInvalidArgument, "vxlan id %d is already in use", v)
			}
			return uint32(v), nil
		}
	}
	v, ok := s.vnis.free(firstVNI, endVNI)
	if !ok {
		return 0, cluster.Errorf(errdefs.ErrResourceExhausted, "no VXLAN network identifier is free for network %s", n.Spec.Name)
	}
	return uint32(v), nil
}

// ipam is n's subnets: those of its spec, completed, and one from the pools for a family that the spec leaves out.
func (s *State) ipam(n *cluster.Network) ([]swarm.IPAMConfig, error) {
	var out []swarm.IPAMConfig
	has4, has6 := false, false
	if n.Spec.IPAMOptions != nil {
		for _, c := range n.Spec.IPAMOptions.Configs {
			if !c.Subnet.IsValid() {
				continue // a range or gateway without its subnet says nothing
			}
			c.Subnet = c.Subnet.Masked()
			for _, other := range out {
				if other.Subnet.Overlaps(c.Subnet) {
					return nil, overlapping()
				}
			}
			if err := s.check(n, &c); err != nil {
				return nil, err
			}
			has4, has6 = has4 || c.Subnet.Addr().Is4(), has6 || c.Subnet.Addr().Is6()
			out = append(out, c)
		}
	}
	if !has4 {
		p, err := s.fromPools(s.cfg.Pools, s.cfg.SubnetSize, n)
		if err != nil {
			return nil, err
		}
		out = append(out, swarm.IPAMConfig{Subnet: p, Gateway: plus(p.Addr(), 1)})
	}
	if !has6 && n.Spec.IPv6Enabled {
		p, err := s.fromPools([]netip.Prefix{pool6}, 64, n)
		if err != nil {
			return nil, err
		}
		out = append(out, swarm.IPAMConfig{Subnet: p, Gateway: plus(p.Addr(), 1)})
	}
	slices.SortStableFunc(out, func(a, b swarm.IPAMConfig) int {
		return cmp.Compare(a.Subnet.Addr().BitLen(), b.Subnet.Addr().BitLen())
	})
	return out, nil
}

// check judges a subnet that the user asked for and completes its gateway.
func (s *State) check(n *cluster.Network, c *swarm.IPAMConfig) error {
	if size(c.Subnet) < 4 {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "subnet %s of network %s is too small", c.Subnet, n.Spec.Name)
	}
	if c.Range.IsValid() && (!c.Subnet.Contains(c.Range.Addr()) || c.Range.Bits() < c.Subnet.Bits()) {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "invalid ip-range %s: it is not in subnet %s", c.Range, c.Subnet)
	}
	if c.Gateway.IsValid() && !c.Subnet.Contains(c.Gateway) {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "invalid gateway %s: it is not in subnet %s", c.Gateway, c.Subnet)
	}
	for used := range s.prefixes {
		if used.Overlaps(c.Subnet) {
			return overlapping()
		}
	}
	if !c.Gateway.IsValid() {
		c.Gateway = plus(c.Subnet.Addr(), 1)
	}
	return nil
}

func overlapping() error {
	return cluster.Errorf(errdefs.ErrInvalidArgument, "invalid pool request: Pool overlaps with other one on this address space")
}

// pool6 is a unique local prefix for IPv6 subnets that nobody chose (RFC 4193).
var pool6 = netip.MustParsePrefix("fd53:686f:616c::/48")

// fromPools is the lowest subnet of the given prefix length in pools that overlaps none in use.
func (s *State) fromPools(pools []netip.Prefix, bits int, n *cluster.Network) (netip.Prefix, error) {
	for _, pool := range pools {
		if bits < pool.Bits() || bits > pool.Addr().BitLen()-2 {
			continue
		}
		shift := pool.Addr().BitLen() - bits
		count := uint64(1) << min(bits-pool.Bits(), 32)
		var used numbers
		for p := range s.prefixes {
			first, end := covered(pool, p, shift, count)
			for i := first; i < end; i++ {
				used.add(i)
			}
		}
		if i, ok := used.free(0, count); ok {
			return netip.PrefixFrom(offset(pool.Masked().Addr(), i, shift), bits), nil
		}
	}
	return netip.Prefix{}, cluster.Errorf(errdefs.ErrResourceExhausted,
		"no subnet is free for network %s: all of the default address pools is in use; add a pool, or give the network a subnet of its own", n.Spec.Name)
}

// covered is which of the pool's subnets (each 2^shift addresses) a prefix overlaps.
func covered(pool, p netip.Prefix, shift int, count uint64) (first, end uint64) {
	switch {
	case !pool.Overlaps(p):
		return 0, 0
	case p.Bits() <= pool.Bits():
		return 0, count
	}
	first = index(pool.Masked().Addr(), p.Masked().Addr(), shift)
	return first, first + max(1, uint64(1)<<min(max(p.Addr().BitLen()-p.Bits()-shift, 0), 32))
}

// index is the number of the subnet of 2^shift addresses that a is in, counted from base.
func index(base, a netip.Addr, shift int) uint64 {
	if base.Is4() {
		return (low(a) - low(base)) >> shift
	}
	return high(a) - high(base) // IPv6 subnets are /64: shift is 64
}

func offset(base netip.Addr, i uint64, shift int) netip.Addr {
	if base.Is4() {
		return plus(base, i<<shift)
	}
	return withHigh(base, high(base)+i)
}
