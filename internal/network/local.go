package network

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/network"

	"shoal/internal/cluster"
	"shoal/internal/network/plan"
)

// local is a network of the node's own.
type local struct {
	api.Network
	Number uint32 `json:"Shoal"` // names its links and namespace
}

var predefined = []string{"bridge", "host", "none"}

// predefinedID is the same on every node and in every life of it.
func predefinedID(name string) string { return digest("network", name) }

func endpointID(container, network string) string { return digest("endpoint", container, network) }

func digest(words ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(words, "\x00")))
	return hex.EncodeToString(sum[:])
}

func (n *Network) localsPath() string { return filepath.Join(n.config.StateDir, "networks.json") }

func (n *Network) loadLocals() error {
	data, err := os.ReadFile(n.localsPath())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil {
		if err := json.Unmarshal(data, &n.locals); err != nil {
			return fmt.Errorf("%s: %w", n.localsPath(), err)
		}
	}
	changed := false
	for i, name := range predefined {
		id := predefinedID(name)
		if n.locals[id] != nil {
			continue
		}
		changed = true
		l := &local{Network: api.Network{
			Name: name, ID: id, Created: time.Now(), Scope: "local", Driver: name, EnableIPv4: true,
			IPAM: api.IPAM{Driver: "default", Config: []api.IPAMConfig{}}, Options: map[string]string{}, Labels: map[string]string{},
		}}
		switch name {
		case "none":
			l.Driver = "null"
		case "bridge":
			l.Number = uint32(i + 1)
			subnet, err := n.freeSubnet()
			if err != nil {
				return err
			}
			l.IPAM.Config = []api.IPAMConfig{{Subnet: subnet, Gateway: subnet.Addr().Next()}}
			l.Options["com.docker.network.bridge.default_bridge"] = "true"
		}
		n.locals[id] = l
	}
	if changed {
		return n.saveLocals()
	}
	return nil
}

func (n *Network) saveLocals() error {
	data, err := json.MarshalIndent(n.locals, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(n.localsPath(), data)
}

func (n *Network) removeLocals() error {
	if err := os.Remove(n.localsPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// freeSubnet is the first of the pools that overlaps nothing that the node knows.
func (n *Network) freeSubnet() (netip.Prefix, error) {
	used := slices.Clone(n.node.Prefixes)
	for _, l := range n.locals {
		used = append(used, l.subnets()...)
	}
	for _, l := range n.links {
		used = append(used, l.Subnets...)
	}
	for _, pool := range n.config.Pools {
		for p := netip.PrefixFrom(pool.Base.Masked().Addr(), pool.Size); pool.Base.Contains(p.Addr()); {
			if !slices.ContainsFunc(used, func(u netip.Prefix) bool { return u.Bits() > 0 && u.Overlaps(p) }) {
				return p, nil
			}
			next := lastAddr(p).Next()
			if !next.IsValid() {
				break
			}
			p = netip.PrefixFrom(next, pool.Size)
		}
	}
	return netip.Prefix{}, cluster.Errorf(errdefs.ErrInvalidArgument, "all predefined address pools have been fully subnetted")
}

// lastAddr is the highest address of a prefix.
func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func (l *local) subnets() (out []netip.Prefix) {
	for _, c := range l.IPAM.Config {
		out = append(out, c.Subnet)
	}
	return out
}

func (l *local) gateways() (out []netip.Addr) {
	for _, c := range l.IPAM.Config {
		out = append(out, c.Gateway)
	}
	return out
}

// hasNames tells networks in which containers find each other by name: all that users made, as in Docker.
func (l *local) hasNames() bool { return l.Name != "bridge" }

// find is by ID, name, or the unique beginning of an ID, in this order.
func (n *Network) find(ref string) (*local, error) {
	if l := n.locals[ref]; l != nil {
		return l, nil
	}
	var begin []*local
	for _, l := range n.locals {
		if l.Name == ref || ref == "default" && l.Name == "bridge" {
			return l, nil
		}
		if ref != "" && strings.HasPrefix(l.ID, ref) {
			begin = append(begin, l)
		}
	}
	switch len(begin) {
	case 1:
		return begin[0], nil
	case 0:
		return nil, cluster.Errorf(errdefs.ErrNotFound, "network %s not found", ref)
	}
	return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "network %s is ambiguous (%d matches found on name)", ref, len(begin))
}

// ListLocal is bridge, host, none and what users made, with their containers.
func (n *Network) ListLocal(ctx context.Context) ([]api.Inspect, error) {
	if err := n.enter(ctx); err != nil {
		return nil, err
	}
	defer n.leave()
	list := slices.SortedFunc(maps.Values(n.locals), func(a, b *local) int { return cmp.Compare(a.Name, b.Name) })
	out := make([]api.Inspect, len(list))
	for i, l := range list {
		out[i] = n.inspect(l)
	}
	return out, nil
}

// InspectLocal finds a network by ID, name or the unique beginning of an ID.
func (n *Network) InspectLocal(ctx context.Context, ref string) (api.Inspect, error) {
	if err := n.enter(ctx); err != nil {
		return api.Inspect{}, err
	}
	defer n.leave()
	l, err := n.find(ref)
	if err != nil {
		return api.Inspect{}, err
	}
	return n.inspect(l), nil
}

func (n *Network) inspect(l *local) api.Inspect {
	return api.Inspect{Network: l.Network, Containers: n.endpoints(l.ID, l.Name)}
}

// endpoints is this node's containers in a network.
func (n *Network) endpoints(networkID, mode string) map[string]api.EndpointResource {
	out := map[string]api.EndpointResource{}
	for _, b := range n.boxes {
		e := api.EndpointResource{Name: strings.TrimPrefix(b.Name, "/"), EndpointID: endpointID(b.ContainerID, networkID)}
		in := b.Mode != "" && b.Mode == mode
		for _, p := range b.Places {
			if p.NetworkID != networkID {
				continue
			}
			in = true
			mac := plan.MACOf(b.ContainerID, networkID)
			e.MacAddress = mac[:]
			for _, a := range p.Addresses {
				if a.Addr().Is4() {
					e.IPv4Address = a
				} else {
					e.IPv6Address = a
				}
			}
		}
		if in {
			out[b.ContainerID] = e
		}
	}
	return out
}

// SwarmEndpoints is this node's containers in a swarm network, by container ID.
func (n *Network) SwarmEndpoints(ctx context.Context, networkID string) map[string]api.EndpointResource {
	if n.enter(ctx) != nil {
		return nil
	}
	defer n.leave()
	return n.endpoints(networkID, "")
}

// RemoveLocal removes a network that users made and no container is in.
func (n *Network) RemoveLocal(ctx context.Context, ref string) error {
	if err := n.enter(ctx); err != nil {
		return err
	}
	defer n.leave()
	l, err := n.find(ref)
	if err != nil {
		return err
	}
	if slices.Contains(predefined, l.Name) {
		return cluster.Errorf(errdefs.ErrPermissionDenied, "%s is a pre-defined network and cannot be removed", l.Name)
	}
	for id, e := range n.endpoints(l.ID, l.Name) {
		return cluster.Errorf(errdefs.ErrPermissionDenied, "error while removing network: network %s has active endpoints (name:%q id:%q)", l.Name, e.Name, short(id))
	}
	delete(n.locals, l.ID)
	return n.saveLocals()
}
