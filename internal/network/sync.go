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
	return n.program(ctx, scope{all: touched == nil, places: touched, host: true, accept: touched == nil, extra: extra, gone: gone})
}

// scope is how much of the kernel may differ from what it should hold.
type scope struct {
	all     bool               // everything
	places  map[string]bool    // the networks whose containers on this node are others
	members map[string]changed // the networks of which no more than this changed
	host    bool
	accept  bool // other firewalls' chains
	extra   plan.Kernel
	gone    []plan.NS
}

// program does the work of apply. Of networks whose containers or members changed it plans and compares that part alone:
// a network can have a hundred thousand endpoints.
func (n *Network) program(ctx context.Context, what scope) error {
	in := n.input()
	want, wanted := plan.Kernel{}, map[plan.NS]bool{plan.HostNS: true}
	if what.all || what.host || n.have[plan.HostNS] == nil {
		want[plan.HostNS] = plan.Host(in)
	}
	parts := pieces{plan.Kernel{}, plan.Kernel{}}
	for _, net := range in.Networks {
		wanted[net.NS()] = true
		c, touched := what.members[net.ID]
		switch {
		case what.all || n.have[net.NS()] == nil:
			want[net.NS()] = plan.Overlay(in, n.listed(net))
		case touched:
			parts.add(in, c.before.Of(net), c.after.Of(net))
		case what.places[net.ID]:
			rest := plan.Part{Rest: n.rest(net.ID)}.Of(net)
			old := *rest
			old.Places = n.placed[net.NS()]
			parts.add(in, &old, rest)
		}
	}
	have, err := n.known(want, wanted)
	if err != nil {
		return err
	}
	for _, ns := range what.gone {
		have[ns] = plan.NewNamespace()
	}
	maps.Copy(want, what.extra)
	for ns := range have {
		if !wanted[ns] {
			n.dns.Stop(string(ns))
		}
	}
	ops := slices.DeleteFunc(plan.Diff(with(have, parts.old), with(want, parts.now)), func(o plan.Op) bool {
		// The kernel removes a veth with the container's namespace at its leisure; to ask for it would wait for it, tens
		// of milliseconds each.
		link, ok := o.Item.(plan.LinkItem)
		return ok && o.Delete && link.PeerNS != plan.HostNS && slices.Contains(what.gone, link.PeerNS)
	})
	if err := n.kernel.Apply(ctx, ops); err != nil {
		n.forget(have, with(want, parts.now), wanted)
		return fmt.Errorf("network: %w", err)
	}
	n.note(have, want, parts)
	for _, net := range in.Networks {
		n.placed[net.NS()] = net.Places
	}
	// Attach needs no look at other tables unless it made the first uplink.
	if what.accept || want[plan.HostNS] != nil && len(ops) > 0 && hasUplinks(want) != hasUplinks(have) {
		if err := n.accept(hasUplinks(n.have)); err != nil {
			return fmt.Errorf("network: other tables' forward chains: %w", err)
		}
	}
	if err := n.noteKeys(in, ops); err != nil {
		return fmt.Errorf("network: %w", err)
	}
	return n.listen(wanted)
}

// pieces are parts of namespaces as they were and as they are to be.
type pieces struct{ old, now plan.Kernel }

func (p pieces) add(in plan.Input, old, now *plan.Net) {
	p.old[old.NS()], p.now[now.NS()] = plan.Overlay(in, old), plan.Overlay(in, now)
}

func with(k, more plan.Kernel) plan.Kernel {
	if len(more) == 0 {
		return k
	}
	k = maps.Clone(k)
	maps.Copy(k, more)
	return k
}

// listed is a network with all that is in it.
func (n *Network) listed(net *plan.Net) *plan.Net {
	m := n.members[net.ID]
	if m == nil {
		return net
	}
	full := *net
	m.Into(&full.NetworkLink)
	return &full
}

// rest is what the members of a network mean for a part of it that lists none.
func (n *Network) rest(id string) plan.Rest {
	if m := n.members[id]; m != nil {
		return m.Rest()
	}
	return plan.Rest{}
}

// note keeps what the kernel holds now.
func (n *Network) note(have, want plan.Kernel, parts pieces) {
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
	for ns, now := range parts.now {
		plan.Patch(n.have[ns], parts.old[ns], now)
	}
	for ns := range n.placed {
		if n.have[ns] == nil {
			delete(n.placed, ns)
		}
	}
}

// forget is for when it is not known what the kernel holds.
func (n *Network) forget(have, want plan.Kernel, wanted map[plan.NS]bool) {
	for ns := range want {
		delete(n.have, ns)
	}
	for ns := range have {
		delete(n.have, ns)
		if !wanted[ns] && !kernel.IsContainer(ns) {
			n.have[ns] = nil // still to be removed
		}
	}
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
	names := dns.NewNames(n.listed(net).NetworkLink, n.hosts(id, net.Local))
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
