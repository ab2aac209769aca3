package controlplane

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// networkObject is a network as tasks and the swarm's own API show it.
func networkObject(n *cluster.Network) swarm.Network {
	out := n.Network
	out.Spec.Scope = "swarm"
	return out
}

// Networks is the swarm's networks, without those that every node has of its own.
func (c *Control) Networks() []network.Inspect {
	v := c.Store.View()
	list := []network.Inspect{}
	for n := range store.Networks.All(v) {
		if !n.Predefined() && !n.Leaving {
			list = append(list, networkOut(n))
		}
	}
	return list
}

// Network is one network of the swarm by ID, name or unique beginning of an ID; the predefined ones are found too,
// since services may name them. verbose adds the services and tasks in it; status the use of its subnets.
func (c *Control) Network(ref string, verbose, status bool) (network.Inspect, error) {
	v := c.Store.View()
	n, err := findNetwork(v, ref)
	if err != nil {
		return network.Inspect{}, err
	}
	out := networkOut(n)
	if verbose {
		out.Services = networkServices(v, n.ID)
	}
	if status {
		out.Status = &network.Status{IPAM: network.IPAMStatus{Subnets: subnetUse(v, n)}}
	}
	return out, nil
}

func networkOut(n *cluster.Network) network.Inspect {
	out := network.Inspect{
		Network: network.Network{
			Name: n.Spec.Name, ID: n.ID, Created: n.CreatedAt, Scope: "swarm", Driver: n.Driver(),
			EnableIPv4: true, EnableIPv6: n.Spec.IPv6Enabled, Internal: n.Spec.Internal, Attachable: n.Spec.Attachable,
			Ingress: n.Spec.Ingress, Options: map[string]string{}, Labels: n.Spec.Labels,
			IPAM: network.IPAM{Driver: "default", Config: []network.IPAMConfig{}},
		},
		Containers: map[string]network.EndpointResource{},
	}
	if n.Spec.ConfigFrom != nil {
		out.ConfigFrom = *n.Spec.ConfigFrom
	}
	if n.Spec.DriverConfiguration != nil {
		maps.Copy(out.Options, n.Spec.DriverConfiguration.Options)
	}
	maps.Copy(out.Options, n.DriverState.Options)
	if n.Keys != nil {
		out.Options[keysOption] = keysText(n.Keys)
	}
	ipam := n.IPAMOptions
	if ipam == nil {
		ipam = n.Spec.IPAMOptions
	}
	if ipam == nil {
		return out
	}
	if ipam.Driver.Name != "" {
		out.IPAM.Driver = ipam.Driver.Name
	}
	out.IPAM.Options = ipam.Driver.Options
	for _, cfg := range ipam.Configs {
		one := network.IPAMConfig{Subnet: cfg.Subnet, IPRange: cfg.Range, Gateway: cfg.Gateway}
		for name, addr := range n.Aux {
			if cfg.Subnet.Contains(addr) {
				if one.AuxAddress == nil {
					one.AuxAddress = map[string]netip.Addr{}
				}
				one.AuxAddress[name] = addr
			}
		}
		out.IPAM.Config = append(out.IPAM.Config, one)
	}
	return out
}

// addressIn is the task's address in the network; the zero Addr without one.
func addressIn(t *cluster.Task, networkID string) netip.Addr {
	for _, a := range t.Attachments {
		if a.NetworkID == networkID && len(a.Addresses) > 0 {
			return a.Addresses[0].Addr()
		}
	}
	return netip.Addr{}
}

// networkServices is the services of a network with their running tasks, by name.
func networkServices(r store.Reader, networkID string) map[string]network.ServiceInfo {
	services := map[string]network.ServiceInfo{}
	for s := range store.Services.By(r, store.ServiceNetwork, networkID) {
		info := network.ServiceInfo{Ports: []string{}, Tasks: []network.Task{}}
		for _, vip := range s.Endpoint.VirtualIPs {
			if vip.NetworkID == networkID && !info.VIP.IsValid() {
				info.VIP = vip.Addr.Addr()
			}
		}
		for _, p := range s.Endpoint.Ports {
			info.Ports = append(info.Ports, fmt.Sprintf("Target: %d, Publish: %d", p.TargetPort, p.PublishedPort))
		}
		for t := range store.Tasks.By(r, store.TaskService, s.ID) {
			addr := addressIn(t, networkID)
			if !addr.IsValid() || t.Status.State != swarm.TaskStateRunning {
				continue
			}
			task := network.Task{Name: t.Name(), EndpointID: t.ID, EndpointIP: addr, Info: map[string]string{}}
			if n := store.Nodes.Get(r, t.NodeID); n != nil {
				task.Info["Host IP"] = n.Status.Addr
			}
			info.Tasks = append(info.Tasks, task)
		}
		services[s.Spec.Name] = info
	}
	return services
}

// subnetUse counts the addresses of each subnet that are in use: the subnet's own, the gateway, what is reserved, virtual
// IPs and tasks.
func subnetUse(r store.Reader, n *cluster.Network) network.SubnetStatuses {
	out := network.SubnetStatuses{}
	if n.IPAMOptions == nil {
		return out
	}
	used := make(map[netip.Addr]bool)
	for _, addr := range n.Aux {
		used[addr] = true
	}
	for s := range store.Services.By(r, store.ServiceNetwork, n.ID) {
		for _, vip := range s.Endpoint.VirtualIPs {
			if vip.NetworkID == n.ID {
				used[vip.Addr.Addr()] = true
			}
		}
	}
	for t := range store.Tasks.By(r, store.TaskNetwork, n.ID) {
		for _, a := range t.Attachments {
			if a.NetworkID == n.ID && !cluster.Terminal(t.Status.State) {
				for _, p := range a.Addresses {
					used[p.Addr()] = true
				}
			}
		}
	}
	for _, cfg := range n.IPAMOptions.Configs {
		count := uint64(2) // the first and the last address
		if cfg.Gateway.IsValid() {
			count++
		}
		for addr := range used {
			if cfg.Subnet.Contains(addr) {
				count++
			}
		}
		size := ^uint64(0)
		if bits := cfg.Subnet.Addr().BitLen() - cfg.Subnet.Bits(); bits < 64 {
			size = 1 << bits
		}
		out[cfg.Subnet] = network.SubnetStatus{IPsInUse: count, DynamicIPsAvailable: size - min(size, count)}
	}
	return out
}

// MatchNetwork says whether a listing's filter (checked by [CheckNetworkFilter]) lets a network through. inUse says
// whether anything is attached to it.
func MatchNetwork(f Filters, n *network.Network, inUse bool) bool {
	builtin := slices.Contains(predefined[:], n.Name)
	kind := "custom"
	if builtin {
		kind = "builtin"
	}
	if f.Has("dangling") {
		if want, _ := f.Bool("dangling", false); want != (!builtin && !inUse) {
			return false
		}
	}
	return f.Contains("id", n.ID) && f.Contains("name", n.Name) && f.Exact("driver", n.Driver) &&
		f.Exact("scope", n.Scope) && f.Labels("label", n.Labels) && f.Exact("type", kind)
}

// CheckNetworkFilter checks the keys and values of a network listing's filter.
func CheckNetworkFilter(f Filters) error {
	if err := f.Check("dangling", "driver", "id", "label", "name", "scope", "type"); err != nil {
		return err
	}
	for _, kind := range f["type"] {
		if kind != "custom" && kind != "builtin" {
			return cluster.Errorf(errdefs.ErrInvalidArgument, "invalid filter: 'type'='%s'", kind)
		}
	}
	_, err := f.Bool("dangling", false)
	return err
}

// NetworkBusy says whether a service or task of the swarm uses the network.
func (c *Control) NetworkBusy(id string) bool {
	v := c.Store.View()
	n := store.Networks.Get(v, id)
	return n != nil && networkInUse(v, n) != nil
}
