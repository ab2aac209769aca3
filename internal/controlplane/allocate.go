package controlplane

import (
	"iter"
	"slices"

	"shoal/internal/allocate"
	"shoal/internal/cluster"
	"shoal/internal/store"
)

// stock is what is in use of addresses, ports and VNIs, as far as the named networks go: the tasks of other networks
// cannot be in the way, and in a large cluster they are most of what there is to read.
func stock(r store.Reader, networkIDs []string) *allocate.State {
	return allocate.New(poolConfig(r), store.Networks.All(r), store.Services.All(r), tasksIn(r, networkIDs))
}

func poolConfig(r store.Reader) allocate.Config {
	c := store.ClusterOf(r)
	if c == nil {
		return allocate.Config{}
	}
	return allocate.Config{Pools: c.DefaultAddrPool, SubnetSize: int(c.SubnetSize)}
}

func tasksIn(r store.Reader, networkIDs []string) iter.Seq[*cluster.Task] {
	return func(yield func(*cluster.Task) bool) {
		seen := make(map[string]bool)
		for _, id := range networkIDs {
			for t := range store.Tasks.By(r, store.TaskNetwork, id) {
				if seen[t.ID] {
					continue
				}
				seen[t.ID] = true
				if !yield(t) {
					return
				}
			}
		}
	}
}

// allocateService gives s, the caller's own copy, the ports and virtual IPs that its spec asks for. What it has
// already and still needs it keeps.
func allocateService(r store.Reader, s *cluster.Service) error {
	var networks []string
	for _, n := range s.Spec.TaskTemplate.Networks {
		networks = append(networks, n.Target)
	}
	for _, vip := range s.Endpoint.VirtualIPs {
		networks = append(networks, vip.NetworkID)
	}
	if needsIngress(&s.Spec) {
		if n := ingressNetwork(r); n != nil {
			networks = append(networks, n.ID)
		}
	}
	s.Endpoint.Ports = slices.Clone(s.Endpoint.Ports)
	s.Endpoint.VirtualIPs = slices.Clone(s.Endpoint.VirtualIPs)
	slices.Sort(networks)
	_, err := stock(r, slices.Compact(networks)).Service(s)
	return err
}
