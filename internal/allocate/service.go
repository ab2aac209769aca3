package allocate

import (
	"net/netip"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// The range that published ports are chosen from when the user names none.
const (
	firstDynamicPort = 30000
	endDynamicPort   = 32768
)

type portKey struct {
	port     uint32
	protocol network.IPProtocol
	host     bool // host mode: many services may ask for the same
	service  string
}

type portOwner struct{ id, name string }

// AddService books a stored service's virtual IPs and published ports.
func (s *State) AddService(svc *cluster.Service) {
	s.ReleaseService(s.services[svc.ID])
	s.services[svc.ID] = svc
	for _, vip := range svc.Endpoint.VirtualIPs {
		s.eachVIP(vip, (*subnet).book)
	}
	for _, port := range svc.Endpoint.Ports {
		s.bookPort(svc, port)
	}
}

// ReleaseService gives back what AddService or Service booked; nil or unknown: nothing.
func (s *State) ReleaseService(svc *cluster.Service) {
	if svc == nil || s.services[svc.ID] == nil {
		return
	}
	booked := s.services[svc.ID]
	delete(s.services, svc.ID)
	for _, vip := range booked.Endpoint.VirtualIPs {
		s.eachVIP(vip, (*subnet).release)
	}
	for _, port := range booked.Endpoint.Ports {
		delete(s.ports, keyOf(booked, port))
		if inDynamicRange(port) {
			s.dynamicPorts(port.Protocol).remove(uint64(port.PublishedPort))
		}
	}
}

func (s *State) eachVIP(vip swarm.EndpointVirtualIP, f func(*subnet, netip.Addr)) {
	if ns := s.networks[vip.NetworkID]; ns != nil {
		for _, sub := range ns.subnets {
			f(sub, vip.Addr.Addr())
		}
	}
}

func isHost(p swarm.PortConfig) bool { return p.PublishMode == swarm.PortConfigPublishModeHost }

// keyOf is under which a port is booked: ingress ports once in the cluster, host ports once per service.
func keyOf(svc *cluster.Service, p swarm.PortConfig) portKey {
	key := portKey{port: p.PublishedPort, protocol: protocol(p), host: isHost(p)}
	if key.host {
		key.service = svc.ID
	}
	return key
}

func protocol(p swarm.PortConfig) network.IPProtocol {
	if p.Protocol == "" {
		return network.TCP
	}
	return p.Protocol
}

func inDynamicRange(p swarm.PortConfig) bool {
	return !isHost(p) && p.PublishedPort >= firstDynamicPort && p.PublishedPort < endDynamicPort
}

func (s *State) dynamicPorts(proto network.IPProtocol) *numbers {
	if proto == "" {
		proto = network.TCP
	}
	if s.dynamic[proto] == nil {
		s.dynamic[proto] = &numbers{}
	}
	return s.dynamic[proto]
}

func (s *State) bookPort(svc *cluster.Service, p swarm.PortConfig) {
	if p.PublishedPort == 0 {
		return
	}
	s.ports[keyOf(svc, p)] = portOwner{svc.ID, svc.Spec.Name}
	if inDynamicRange(p) {
		s.dynamicPorts(p.Protocol).add(uint64(p.PublishedPort))
	}
}

// usesIngress says whether the service publishes a port on the routing mesh.
func usesIngress(svc *cluster.Service) bool {
	return svc != nil && svc.Spec.EndpointSpec != nil &&
		slices.ContainsFunc(svc.Spec.EndpointSpec.Ports, func(p swarm.PortConfig) bool { return !isHost(p) })
}

// Service fills svc.Endpoint from svc.Spec: published ports and virtual IPs, keeping those it has, and books them (svc
// is the caller's own copy; it must not be changed later). What it no longer needs is free. It says whether Endpoint
// changed. On an error svc and the state are as they were: InvalidArgument for a port in use, ResourceExhausted when no
// port or address is left, NotFound for a network without a subnet.
func (s *State) Service(svc *cluster.Service) (changed bool, err error) {
	before := s.services[svc.ID]
	s.ReleaseService(before)
	old := svc.Endpoint
	if before == nil {
		before = svc
	}
	endpoint := swarm.Endpoint{}
	if svc.Spec.EndpointSpec != nil {
		endpoint.Spec = *svc.Spec.EndpointSpec
	}
	if endpoint.Spec.Mode == "" {
		endpoint.Spec.Mode = swarm.ResolutionModeVIP
	}
	endpoint.Ports, err = s.publish(svc, endpoint.Spec.Ports)
	if err == nil {
		endpoint.VirtualIPs, err = s.virtualIPs(svc, endpoint.Spec.Mode)
	}
	if err != nil {
		svc.Endpoint = old
		s.AddService(before)
		return false, err
	}
	svc.Endpoint = endpoint
	s.AddService(svc)
	return !slices.Equal(old.Ports, endpoint.Ports) || !slices.Equal(old.VirtualIPs, endpoint.VirtualIPs) ||
		old.Spec.Mode != endpoint.Spec.Mode || !slices.Equal(old.Spec.Ports, endpoint.Spec.Ports), nil
}

// publish checks the ports that a service asks for and chooses those it left open. It books nothing.
func (s *State) publish(svc *cluster.Service, want []swarm.PortConfig) ([]swarm.PortConfig, error) {
	if err := s.CheckPorts(svc.ID, want); err != nil {
		return nil, err
	}
	chosen := map[portKey]bool{}
	for _, p := range want {
		chosen[portKey{port: p.PublishedPort, protocol: protocol(p)}] = true
	}
	out := slices.Clone(want)
	for i, p := range out {
		if p.PublishedPort != 0 || isHost(p) {
			continue
		}
		port, ok := s.keepPort(svc, p, chosen)
		for from := uint64(firstDynamicPort); !ok; from = uint64(port) + 1 {
			next, free := s.dynamicPorts(p.Protocol).free(from, endDynamicPort)
			if !free {
				return nil, cluster.Errorf(errdefs.ErrResourceExhausted, "no port from %d to %d is free for service %s", firstDynamicPort, endDynamicPort-1, svc.Spec.Name)
			}
			port = uint32(next)
			ok = !chosen[portKey{port: port, protocol: protocol(p)}]
		}
		out[i].PublishedPort = port
		chosen[portKey{port: port, protocol: protocol(p)}] = true
	}
	return out, nil
}

// keepPort is the port that was chosen for the same target before.
func (s *State) keepPort(svc *cluster.Service, p swarm.PortConfig, chosen map[portKey]bool) (uint32, bool) {
	for _, had := range svc.Endpoint.Ports {
		key := portKey{port: had.PublishedPort, protocol: protocol(p)}
		_, taken := s.ports[key]
		if inDynamicRange(had) && had.TargetPort == p.TargetPort && protocol(had) == protocol(p) && !chosen[key] && !taken {
			return had.PublishedPort, true
		}
	}
	return 0, false
}

// CheckPorts says whether the service of that ID (empty: a new one) may publish these ports: an ingress port belongs to
// one service, a host-mode port to no other service's ingress. InvalidArgument, in Docker's words.
func (s *State) CheckPorts(serviceID string, want []swarm.PortConfig) error {
	for _, p := range want {
		if p.PublishedPort == 0 {
			continue
		}
		if owner, taken := s.ports[portKey{port: p.PublishedPort, protocol: protocol(p)}]; taken && owner.id != serviceID {
			return inUse(p, owner, "an ingress port")
		}
		if isHost(p) {
			continue
		}
		if owner, taken := s.hostPortOwner(p, serviceID); taken {
			return inUse(p, owner, "a host-published port")
		}
	}
	return nil
}

// hostPortOwner is the service of the lowest ID, other than serviceID, that publishes p in host mode.
func (s *State) hostPortOwner(p swarm.PortConfig, serviceID string) (owner portOwner, taken bool) {
	for key, o := range s.ports {
		if key.host && key.port == p.PublishedPort && key.protocol == protocol(p) && o.id != serviceID && (!taken || o.id < owner.id) {
			owner, taken = o, true
		}
	}
	return owner, taken
}

func inUse(p swarm.PortConfig, owner portOwner, as string) error {
	return cluster.Errorf(errdefs.ErrInvalidArgument, "port '%d' is already in use by service '%s' (%s) as %s", p.PublishedPort, owner.name, owner.id, as)
}

// virtualIPs gives a service an address in each of its networks, IPv4 before IPv6, and keeps those it has.
func (s *State) virtualIPs(svc *cluster.Service, mode swarm.ResolutionMode) ([]swarm.EndpointVirtualIP, error) {
	if mode == swarm.ResolutionModeDNSRR {
		return nil, nil
	}
	var out []swarm.EndpointVirtualIP
	for _, id := range s.networksOf(svc) {
		ns := s.networks[id]
		if ns == nil {
			s.giveBack(out)
			return nil, cluster.Errorf(errdefs.ErrNotFound, "network %s not found", id)
		}
		for _, sub := range ns.subnets {
			addr, ok := keptVIP(svc, id, sub), true
			if addr.IsValid() && sub.take(addr.Addr()) {
				out = append(out, swarm.EndpointVirtualIP{NetworkID: id, Addr: addr})
				continue
			}
			if addr, ok = sub.give(); !ok {
				s.giveBack(out)
				return nil, full(ns, sub)
			}
			out = append(out, swarm.EndpointVirtualIP{NetworkID: id, Addr: addr})
		}
	}
	return out, nil
}

func (s *State) giveBack(vips []swarm.EndpointVirtualIP) {
	for _, vip := range vips {
		s.eachVIP(vip, (*subnet).release)
	}
}

func keptVIP(svc *cluster.Service, networkID string, sub *subnet) netip.Prefix {
	for _, vip := range svc.Endpoint.VirtualIPs {
		if vip.NetworkID == networkID && sub.prefix.Contains(vip.Addr.Addr()) {
			return vip.Addr
		}
	}
	return netip.Prefix{}
}

// networksOf are the networks in which the service has addresses: ingress first, if it publishes on the mesh.
func (s *State) networksOf(svc *cluster.Service) []string {
	var ids []string
	if usesIngress(svc) {
		ids = append(ids, s.ingress)
	}
	for _, n := range svc.Spec.TaskTemplate.Networks {
		if !slices.Contains(ids, n.Target) {
			ids = append(ids, n.Target)
		}
	}
	return ids
}
