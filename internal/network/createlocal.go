package network

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/netip"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/network"

	"shoal/internal/cluster"
)

// CreateLocal makes a network of the node's own. It is in the kernel when its first container is.
func (n *Network) CreateLocal(ctx context.Context, req api.CreateRequest) (api.CreateResponse, error) {
	if err := n.enter(ctx); err != nil {
		return api.CreateResponse{}, err
	}
	defer n.leave()
	l, err := n.newLocal(req)
	if err != nil {
		return api.CreateResponse{}, err
	}
	n.locals[l.ID] = l
	if err := n.saveLocals(); err != nil {
		delete(n.locals, l.ID)
		return api.CreateResponse{}, err
	}
	return api.CreateResponse{ID: l.ID}, nil
}

func (n *Network) newLocal(req api.CreateRequest) (*local, error) {
	if slices.Contains(predefined, req.Name) {
		return nil, cluster.Errorf(errdefs.ErrPermissionDenied, "operation is not permitted on predefined %s network ", req.Name)
	}
	if req.Name == "" {
		return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "invalid network name: name is empty")
	}
	if req.Driver != "" && req.Driver != "bridge" && req.Driver != "default" {
		return nil, cluster.Errorf(errdefs.ErrNotFound, "could not find plugin %s in v1 plugin registry: plugin %q not found", req.Driver, req.Driver)
	}
	for _, l := range n.locals {
		if l.Name == req.Name {
			return nil, cluster.Errorf(errdefs.ErrConflict, "network with name %s already exists", req.Name)
		}
	}
	var raw [32]byte
	_, _ = rand.Read(raw[:])
	l := &local{Network: api.Network{
		Name: req.Name, ID: hex.EncodeToString(raw[:]), Created: time.Now(), Scope: "local", Driver: "bridge",
		EnableIPv4: true, EnableIPv6: req.EnableIPv6 != nil && *req.EnableIPv6, Internal: req.Internal, Attachable: req.Attachable,
		IPAM: api.IPAM{Driver: "default", Options: map[string]string{}}, Options: orEmpty(req.Options), Labels: orEmpty(req.Labels),
	}}
	for _, other := range n.locals {
		l.Number = max(l.Number, other.Number)
	}
	l.Number++
	return l, n.addressing(l, req.IPAM)
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// addressing fills in subnets and gateways: those asked for, or the next free one.
func (n *Network) addressing(l *local, ipam *api.IPAM) error {
	var asked []api.IPAMConfig
	if ipam != nil {
		asked = ipam.Config
	}
	has4 := false
	for _, c := range asked {
		if !c.Subnet.IsValid() {
			if c.Gateway.IsValid() || c.IPRange.IsValid() {
				return cluster.Errorf(errdefs.ErrInvalidArgument, "invalid subnet : subnet must be given with a gateway or an IP range")
			}
			continue
		}
		if c.Subnet != c.Subnet.Masked() {
			return cluster.Errorf(errdefs.ErrInvalidArgument, "invalid network config:\ninvalid subnet %s: it should be %s", c.Subnet, c.Subnet.Masked())
		}
		for _, other := range n.locals {
			if slices.ContainsFunc(other.subnets(), c.Subnet.Overlaps) {
				return cluster.Errorf(errdefs.ErrPermissionDenied, "invalid pool request: Pool overlaps with other one on this address space")
			}
		}
		if c.Gateway.IsValid() && !c.Subnet.Contains(c.Gateway) {
			return cluster.Errorf(errdefs.ErrInvalidArgument, "invalid network config:\ninvalid gateway %s: parent subnet %s doesn't contain it", c.Gateway, c.Subnet)
		}
		if c.IPRange.IsValid() && !c.Subnet.Contains(c.IPRange.Addr()) {
			return cluster.Errorf(errdefs.ErrInvalidArgument, "invalid network config:\ninvalid ip-range %s: it should be within subnet %s", c.IPRange, c.Subnet)
		}
		if !c.Gateway.IsValid() {
			c.Gateway = c.Subnet.Addr().Next()
		}
		has4 = has4 || c.Subnet.Addr().Is4()
		l.EnableIPv6 = l.EnableIPv6 || c.Subnet.Addr().Is6()
		l.IPAM.Config = append(l.IPAM.Config, c)
	}
	if !has4 {
		subnet, err := n.freeSubnet()
		if err != nil {
			return err
		}
		l.IPAM.Config = append([]api.IPAMConfig{{Subnet: subnet, Gateway: subnet.Addr().Next()}}, l.IPAM.Config...)
	}
	if l.EnableIPv6 && !slices.ContainsFunc(l.subnets(), func(p netip.Prefix) bool { return p.Addr().Is6() }) {
		subnet := uniqueLocal(l.ID)
		l.IPAM.Config = append(l.IPAM.Config, api.IPAMConfig{Subnet: subnet, Gateway: subnet.Addr().Next()})
	}
	return nil
}

// uniqueLocal is a /64 of the network's own (RFC 4193), from its random ID.
func uniqueLocal(id string) netip.Prefix {
	b := [16]byte{0: 0xfd}
	raw, _ := hex.DecodeString(id)
	copy(b[1:8], raw)
	return netip.PrefixFrom(netip.AddrFrom16(b), 64)
}

// address takes the lowest free address of each of the network's families, or the one asked for.
func (n *Network) address(l *local, asked LocalAttachment) ([]netip.Prefix, error) {
	used := map[netip.Addr]bool{}
	for _, b := range n.boxes {
		for _, p := range b.Places {
			if p.NetworkID == l.ID {
				for _, a := range p.Addresses {
					used[a.Addr()] = true
				}
			}
		}
	}
	var out []netip.Prefix
	for _, c := range l.IPAM.Config {
		want := asked.IPv4
		if c.Subnet.Addr().Is6() {
			want = asked.IPv6
		}
		a, err := pick(c, want, used)
		if err != nil {
			return nil, err
		}
		out = append(out, netip.PrefixFrom(a, c.Subnet.Bits()))
	}
	return out, nil
}

func pick(c api.IPAMConfig, want netip.Addr, used map[netip.Addr]bool) (netip.Addr, error) {
	taken := func(a netip.Addr) bool {
		if used[a] || a == c.Gateway {
			return true
		}
		for _, aux := range c.AuxAddress {
			if aux == a {
				return true
			}
		}
		return false
	}
	if want.IsValid() {
		if !c.Subnet.Contains(want) {
			return want, cluster.Errorf(errdefs.ErrInvalidArgument, "invalid endpoint settings:\nno configured subnet contains IP address %s", want)
		}
		if taken(want) {
			return want, cluster.Errorf(errdefs.ErrPermissionDenied, "Address already in use")
		}
		return want, nil
	}
	from := c.Subnet
	if c.IPRange.IsValid() {
		from = c.IPRange.Masked()
	}
	last := lastAddr(c.Subnet)
	for a := from.Addr(); from.Contains(a); a = a.Next() {
		network := a == c.Subnet.Addr() || a == last && a.Is4()
		if !network && !taken(a) {
			return a, nil
		}
	}
	return netip.Addr{}, cluster.Errorf(errdefs.ErrPermissionDenied, "no available IPv4 addresses on this network's address pools: %s", c.Subnet)
}
