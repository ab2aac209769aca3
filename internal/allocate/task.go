package allocate

import (
	"net/netip"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// AddTask books the addresses of a stored task. Those of a task that has ended are free.
func (s *State) AddTask(t *cluster.Task) {
	if !cluster.Terminal(t.Status.State) {
		s.each(t.Attachments, (*subnet).book)
	}
}

// ReleaseTask gives back what AddTask or Task booked. Call it when a task has ended or is deleted, with the record
// that was booked.
func (s *State) ReleaseTask(t *cluster.Task) { s.each(t.Attachments, (*subnet).release) }

func (s *State) each(attachments []cluster.Attachment, f func(*subnet, netip.Addr)) {
	for _, a := range attachments {
		if ns := s.networks[a.NetworkID]; ns != nil {
			for _, p := range a.Addresses {
				for _, sub := range ns.subnets {
					f(sub, p.Addr())
				}
			}
		}
	}
}

// Task fills t.Attachments and t.Ports from its spec and service (t is the caller's own copy; svc nil: the spec alone),
// and books the addresses. A task that has Attachments already keeps them. On an error nothing is taken; its text is
// for Status.Err, the task stays NEW and is tried again in a later pass. ResourceExhausted: a network is full.
// NotFound: a network is not there, or has no subnet yet.
func (s *State) Task(t *cluster.Task, svc *cluster.Service, spec *cluster.Spec) error {
	if len(t.Attachments) > 0 {
		return nil
	}
	var out []cluster.Attachment
	if svc != nil && usesIngress(svc) {
		if s.ingress == "" {
			return cluster.Errorf(errdefs.ErrFailedPrecondition, "service needs ingress network, but no ingress network is present")
		}
		a, err := s.Attach(s.ingress, netip.Addr{}, nil)
		if err != nil {
			return err
		}
		out = append(out, a)
	}
	for _, n := range spec.Task.Networks {
		if n.Target == s.ingress && s.ingress != "" && usesIngress(svc) {
			continue
		}
		a, err := s.Attach(n.Target, netip.Addr{}, n.Aliases)
		if err != nil {
			s.each(out, (*subnet).release)
			return err
		}
		out = append(out, a)
	}
	t.Attachments = out
	t.Ports = append([]swarm.PortConfig(nil), spec.HostPorts...)
	return nil
}

// Attach takes an address of each family in a network. want, when valid, must be the one of its family (a plain
// container may ask for it). On an error nothing is taken.
func (s *State) Attach(networkID string, want netip.Addr, aliases []string) (cluster.Attachment, error) {
	a := cluster.Attachment{NetworkID: networkID, Aliases: aliases}
	ns := s.networks[networkID]
	if ns == nil {
		return a, cluster.Errorf(errdefs.ErrNotFound, "network %s not found", networkID)
	}
	for _, sub := range ns.subnets {
		p, ok := netip.Prefix{}, false
		switch {
		case want.IsValid() && sub.prefix.Contains(want):
			p, ok = netip.PrefixFrom(want, sub.prefix.Bits()), sub.take(want)
			if !ok {
				s.each([]cluster.Attachment{a}, (*subnet).release)
				return cluster.Attachment{}, cluster.Errorf(errdefs.ErrInvalidArgument, "Address already in use")
			}
		default:
			p, ok = sub.give()
		}
		if !ok {
			s.each([]cluster.Attachment{a}, (*subnet).release)
			return cluster.Attachment{}, full(ns, sub)
		}
		a.Addresses = append(a.Addresses, p)
	}
	if want.IsValid() && !contains(a.Addresses, want) {
		s.each([]cluster.Attachment{a}, (*subnet).release)
		return cluster.Attachment{}, cluster.Errorf(errdefs.ErrInvalidArgument, "invalid address %s: It does not belong to any of this network's subnets", want)
	}
	return a, nil
}

func contains(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Addr() == a {
			return true
		}
	}
	return false
}

func full(ns *networkState, sub *subnet) error {
	return cluster.Errorf(errdefs.ErrResourceExhausted, "could not find an available IP in network %s: all %d addresses of %s are in use", ns.name, sub.end-sub.first, sub.prefix)
}
