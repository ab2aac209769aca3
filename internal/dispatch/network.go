package dispatch

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// Link is an overlay network with everything in it; nil when it has no data plane of ours. Pure.
func Link(r store.Reader, networkID string) *cluster.NetworkLink {
	n := store.Networks.Get(r, networkID)
	if n == nil || n.VNI == 0 {
		return nil
	}
	link := &cluster.NetworkLink{
		ID: n.ID, Name: n.Spec.Name, VNI: n.VNI,
		Internal: n.Spec.Internal, Ingress: n.Spec.Ingress, Encrypted: n.Keys != nil, MTU: mtu(n),
	}
	link.Rings, link.Sends = rings(r, n)
	if n.IPAMOptions != nil {
		for _, c := range n.IPAMOptions.Configs {
			link.Subnets = append(link.Subnets, c.Subnet)
			link.Gateways = append(link.Gateways, c.Gateway)
		}
	}
	for t := range store.Tasks.By(r, store.TaskNetwork, networkID) {
		if e, ok := endpoint(r, t, networkID); ok {
			link.Endpoints = append(link.Endpoints, e)
		}
	}
	for s := range store.Services.By(r, store.ServiceNetwork, networkID) {
		link.Services = append(link.Services, vip(s, networkID))
	}
	return link
}

// present says whether a task is in its networks: it has a node, and has not ended.
func present(t *cluster.Task) bool {
	return t != nil && t.NodeID != "" && !cluster.Terminal(t.Status.State)
}

// live says whether names and load balancing may lead to a task.
func live(t *cluster.Task) bool {
	return present(t) && t.Status.State == swarm.TaskStateRunning && t.LeftIndex == 0 &&
		cluster.Rank(t.DesiredState) <= cluster.Rank(swarm.TaskStateComplete)
}

// lost says that the task's node is down: whoever talks to the task must be told, and nobody new be led there. It is in
// its networks again when its node is back.
func lost(r store.Reader, t *cluster.Task) bool {
	return down(store.Nodes.Get(r, t.NodeID))
}

func endpoint(r store.Reader, t *cluster.Task, networkID string) (cluster.Endpoint, bool) {
	if !present(t) || lost(r, t) {
		return cluster.Endpoint{}, false
	}
	for _, a := range t.Attachments {
		if a.NetworkID != networkID || len(a.Addresses) == 0 {
			continue
		}
		e := cluster.Endpoint{
			TaskID: t.ID, NodeID: t.NodeID, ServiceID: t.ServiceID, Name: t.Name(),
			Aliases: a.Aliases, Live: live(t), Hostname: hostname(r, t),
		}
		for _, p := range a.Addresses {
			e.Addresses = append(e.Addresses, p.Addr())
		}
		return e, true
	}
	return cluster.Endpoint{}, false
}

// hostname is what the spec calls the container; a template is the node's to fill in, so it gives none.
func hostname(r store.Reader, t *cluster.Task) string {
	spec := store.Specs.Get(r, t.SpecID)
	if spec == nil || spec.Task.ContainerSpec == nil || strings.Contains(spec.Task.ContainerSpec.Hostname, "{{") {
		return ""
	}
	return spec.Task.ContainerSpec.Hostname
}

func vip(s *cluster.Service, networkID string) cluster.VIP {
	v := cluster.VIP{ServiceID: s.ID, Name: s.Spec.Name, Ports: s.Endpoint.Ports}
	for _, n := range s.Spec.TaskTemplate.Networks {
		if n.Target == networkID {
			v.Aliases = n.Aliases
		}
	}
	for _, a := range s.Endpoint.VirtualIPs {
		if a.NetworkID == networkID && a.Addr.IsValid() {
			v.Addresses = append(v.Addresses, a.Addr.Addr())
		}
	}
	return v
}

// published says whether a service has a port in the routing mesh.
func published(s *cluster.Service) bool {
	return s != nil && slices.ContainsFunc(s.Endpoint.Ports, inMesh)
}

// meshed are the services with a port in the mesh, sorted.
func meshed(r store.Reader) (ids []string) {
	for s := range store.Services.All(r) {
		if published(s) {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

func inMesh(p swarm.PortConfig) bool {
	return p.PublishedPort != 0 && p.PublishMode != swarm.PortConfigPublishModeHost
}

// withEndpoints is the link with the endpoints of those tasks (IDs, sorted) as they are now, and all else as it was. Pure.
func withEndpoints(r store.Reader, was *cluster.NetworkLink, tasks []string) *cluster.NetworkLink {
	link, rest := *was, was.Endpoints
	link.Endpoints = make([]cluster.Endpoint, 0, len(rest)+len(tasks))
	for _, id := range tasks {
		at, found := slices.BinarySearchFunc(rest, id, func(e cluster.Endpoint, id string) int { return strings.Compare(e.TaskID, id) })
		link.Endpoints = append(link.Endpoints, rest[:at]...)
		if rest = rest[at:]; found {
			rest = rest[1:]
		}
		if t := store.Tasks.Get(r, id); t != nil {
			if e, ok := endpoint(r, t, link.ID); ok {
				link.Endpoints = append(link.Endpoints, e)
			}
		}
	}
	link.Endpoints = append(link.Endpoints, rest...)
	return &link
}

// withPorts is a list of [Ports] with those services' (IDs, sorted) as they are now. Pure.
func withPorts(r store.Reader, rest []cluster.Port, services []string, ingress string) []cluster.Port {
	ports := make([]cluster.Port, 0, len(rest)+len(services))
	byService := func(p cluster.Port, id string) int { return strings.Compare(p.ServiceID, id) }
	for _, id := range services {
		at, _ := slices.BinarySearchFunc(rest, id, byService)
		ports = append(ports, rest[:at]...)
		for rest = rest[at:]; len(rest) > 0 && rest[0].ServiceID == id; rest = rest[1:] {
		}
		ports = append(ports, Ports(r, []string{id}, ingress)...)
	}
	return append(ports, rest...)
}

// Ports are the routing mesh's ports of those services (IDs, sorted), with the addresses of their live tasks in the
// ingress network. Pure.
func Ports(r store.Reader, services []string, ingress string) []cluster.Port {
	var ports []cluster.Port
	for _, id := range services {
		s := store.Services.Get(r, id)
		if !published(s) {
			continue
		}
		backends := backends(r, id, ingress)
		on, _ := cluster.PublishedOn(s.Spec.Labels) // checked when the service was written
		for _, p := range s.Endpoint.Ports {
			if inMesh(p) {
				ports = append(ports, cluster.Port{ServiceID: id, Config: p, Backends: backends, Bind: on[p.PublishedPort]})
			}
		}
	}
	return ports
}

func backends(r store.Reader, serviceID, ingress string) []netip.Addr {
	var list []netip.Addr
	for t := range store.Tasks.By(r, store.TaskService, serviceID) {
		if !live(t) || lost(r, t) {
			continue
		}
		for _, a := range t.Attachments {
			if a.NetworkID == ingress {
				for _, p := range a.Addresses {
					list = append(list, p.Addr())
				}
			}
		}
	}
	return list
}

// NodeLinks is every node that has a data address.
func NodeLinks(r store.Reader) []cluster.NodeLink {
	var list []cluster.NodeLink
	for n := range store.Nodes.All(r) {
		if n.DataAddr.IsValid() {
			list = append(list, cluster.NodeLink{ID: n.ID, Number: n.Number, Addr: n.DataAddr})
		}
	}
	return list
}

func ingressID(r store.Reader) string {
	for n := range store.Networks.All(r) {
		if n.Spec.Ingress {
			return n.ID
		}
	}
	return ""
}

func mtu(n *cluster.Network) int {
	if n.Spec.DriverConfiguration == nil {
		return 0
	}
	size := 0
	for _, c := range n.Spec.DriverConfiguration.Options["com.docker.network.driver.mtu"] {
		if c < '0' || c > '9' || size > 65535 {
			return 0
		}
		size = size*10 + int(c-'0')
	}
	return size
}
