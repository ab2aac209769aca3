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
	n := store.Nodes.Get(r, t.NodeID)
	return n != nil && n.Status.State == swarm.NodeStateDown
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

func inMesh(p swarm.PortConfig) bool {
	return p.PublishedPort != 0 && p.PublishMode != swarm.PortConfigPublishModeHost
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
