package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"

	"shoal/internal/network/dns"
	"shoal/internal/network/kernel"
	"shoal/internal/network/plan"
)

// sync reads everything and repairs it.
func (n *Network) sync(ctx context.Context, extra plan.Kernel, gone []plan.NS) error {
	n.answer()
	clear(n.have)
	pins, err := n.kernel.Pins()
	if err != nil {
		return err
	}
	for _, p := range pins {
		if !kernel.IsContainer(p) {
			n.have[p] = nil
		}
	}
	return n.apply(ctx, nil, extra, gone)
}

// apply makes the kernel hold what the fields above say: of the touched networks (nil: all) and the host, of extra, which
// is made anew, and without those gone. After an error what was worked on is read anew next time.
func (n *Network) apply(ctx context.Context, touched map[string]bool, extra plan.Kernel, gone []plan.NS) error {
	in := n.input()
	want := plan.Kernel{plan.HostNS: plan.Host(in)}
	wanted := map[plan.NS]bool{plan.HostNS: true}
	for _, net := range in.Networks {
		wanted[net.NS()] = true
		if touched == nil || touched[net.ID] || n.have[net.NS()] == nil {
			want[net.NS()] = plan.Overlay(in, net)
		}
	}
	have, err := n.known(want, wanted)
	if err != nil {
		return err
	}
	for _, ns := range gone {
		have[ns] = plan.NewNamespace()
	}
	maps.Copy(want, extra)
	for ns := range have {
		if !wanted[ns] {
			n.dns.Stop(string(ns))
		}
	}
	ops := slices.DeleteFunc(plan.Diff(have, want), func(o plan.Op) bool {
		// The kernel removes a veth with the container's namespace at its leisure; to ask for it would wait for it, tens
		// of milliseconds each.
		link, ok := o.Item.(plan.LinkItem)
		return ok && o.Delete && link.PeerNS != plan.HostNS && slices.Contains(gone, link.PeerNS)
	})
	if err := n.kernel.Apply(ctx, ops); err != nil {
		for ns := range want {
			delete(n.have, ns)
		}
		for ns := range have {
			delete(n.have, ns)
			if !wanted[ns] && !kernel.IsContainer(ns) {
				n.have[ns] = nil // still to be removed
			}
		}
		return fmt.Errorf("network: %w", err)
	}
	for ns := range have {
		delete(n.have, ns)
	}
	for ns, w := range want {
		if kernel.IsContainer(ns) {
			n.kernel.Forget(ns)
		} else {
			n.have[ns] = w
		}
	}
	// Attach needs no look at other tables unless it made the first uplink.
	if touched == nil || len(ops) > 0 && hasUplinks(want) != hasUplinks(have) {
		if err := n.kernel.Accept(n.config.Prefix, hasUplinks(want)); err != nil {
			return fmt.Errorf("network: other tables' forward chains: %w", err)
		}
	}
	if err := n.noteKeys(in, ops); err != nil {
		return fmt.Errorf("network: %w", err)
	}
	return n.listen(wanted)
}

func hasUplinks(k plan.Kernel) bool {
	host := k[plan.HostNS]
	return host != nil && len(host.Links) > 0
}

// known is what the kernel holds of the namespaces that matter: those wanted now, and those of networks that go.
func (n *Network) known(want plan.Kernel, wanted map[plan.NS]bool) (plan.Kernel, error) {
	have := plan.Kernel{}
	for ns, w := range want {
		h, exists := n.have[ns]
		if h == nil && (exists || ns == plan.HostNS || n.pinned(ns)) {
			var err error
			if h, err = n.kernel.Read(ns, n.config.Prefix, w.Sysctls); err != nil {
				return nil, err
			}
		}
		if h != nil {
			have[ns] = h
		}
	}
	for ns, h := range n.have {
		if wanted[ns] {
			continue
		}
		if h == nil {
			var err error
			if h, err = n.kernel.Read(ns, n.config.Prefix, nil); err != nil {
				return nil, err
			}
		}
		have[ns] = h
	}
	return have, nil
}

func (n *Network) pinned(ns plan.NS) bool {
	_, err := os.Stat(n.kernel.Path(ns))
	return err == nil
}

// listen answers names in every network that is here.
func (n *Network) listen(wanted map[plan.NS]bool) error {
	for ns := range wanted {
		if ns == plan.HostNS || n.dns.Listening(string(ns)) {
			continue
		}
		var udp net.PacketConn
		var tcp net.Listener
		err := n.kernel.In(ns, func() (err error) {
			address := net.JoinHostPort(plan.ResolverAddr.String(), "53")
			if udp, err = net.ListenPacket("udp4", address); err != nil {
				return err
			}
			if tcp, err = net.Listen("tcp4", address); err != nil {
				return errors.Join(err, udp.Close())
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("network: name server in %s: %w", ns, err)
		}
		n.dns.Listen(string(ns), udp, tcp)
	}
	return nil
}

// answer tells the name server who may know what.
func (n *Network) answer() {
	view := dns.View{}
	for id := range n.names {
		if n.locals[id] != nil {
			delete(n.names, id)
		}
	}
	for _, b := range n.inOrder() {
		asker := &dns.Asker{Upstream: b.DNS}
		for _, p := range b.Places {
			if names := n.namesOf(p.NetworkID); names != nil {
				asker.Networks = append(asker.Networks, names)
			}
		}
		for _, p := range b.Places {
			net := n.lookup(p.NetworkID)
			if net == nil || !p.Default {
				continue
			}
			for _, a := range p.Addresses {
				view[dns.Source{Listener: string(net.NS()), Addr: a.Addr()}] = asker
			}
		}
	}
	n.dns.Set(view)
}

// namesOf is what can be asked about a network; the node's own change with each container and are not kept.
func (n *Network) namesOf(id string) *dns.Names {
	if names := n.names[id]; names != nil {
		return names
	}
	net := n.lookup(id)
	if net == nil || net.Local && !n.locals[id].hasNames() {
		return nil
	}
	names := dns.NewNames(net.NetworkLink, n.hosts(id, net.Local))
	n.names[id] = names
	return names
}

// hosts are this node's containers in a network under all their names. Of a swarm network the state has the names, and
// says when they may be used.
func (n *Network) hosts(id string, local bool) (out []dns.Host) {
	if !local {
		return nil
	}
	for _, b := range n.inOrder() {
		for _, p := range b.Places {
			if p.NetworkID != id {
				continue
			}
			h := dns.Host{Names: b.dnsNames(p)}
			for _, a := range p.Addresses {
				h.Addresses = append(h.Addresses, a.Addr())
			}
			out = append(out, h)
		}
	}
	return out
}
