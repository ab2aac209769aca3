package kernel

import (
	"errors"
	"maps"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"

	"shoal/internal/network/plan"
	"shoal/internal/network/tunnel"
)

// Tunnels makes and configures WireGuard devices; *tunnel.Tunnels.
type Tunnels interface {
	Create(ns plan.NS, name string, mtu int) error
	Remove(ns plan.NS, name string) error
	Read(ns plan.NS, name string) (tunnel.Device, error)
	Change(ns plan.NS, name string, ops []plan.Op) error
}

// Use says who makes WireGuard devices. Without it there are none.
func (k *Kernel) Use(t Tunnels) { k.tunnels = t }

var errNoTunnels = errors.New("this node cannot make WireGuard devices")

// tunnel does the operations on one device that ops begins with, in one step, and returns how many those are.
func (a *applier) tunnel(ops []plan.Op) (int, error) {
	if a.k.tunnels == nil {
		return 0, errNoTunnels
	}
	first, _ := tunnelOf(ops[0])
	n := 0
	for n < len(ops) && ops[n].NS == ops[0].NS {
		if link, ok := tunnelOf(ops[n]); !ok || link != first {
			break
		}
		n++
	}
	return n, a.k.tunnels.Change(ops[0].NS, first, ops[:n])
}

func tunnelOf(op plan.Op) (link string, ok bool) {
	switch item := op.Item.(type) {
	case plan.PeerItem:
		return item.Link, true
	case plan.AllowedItem:
		return item.Link, true
	}
	return "", false
}

// tunnelLink makes, sets right or removes a WireGuard device.
func (a *applier) tunnelLink(op plan.Op, l plan.LinkItem) error {
	delete(a.index, linkKey{op.NS, l.Name})
	switch {
	case a.k.tunnels == nil:
		return errNoTunnels
	case op.Delete:
		return a.k.tunnels.Remove(op.NS, l.Name)
	}
	return a.k.tunnels.Create(op.NS, l.Name, l.MTU)
}

// tunnels reads what the WireGuard devices know. One that does not answer counts as missing: it is to be made anew.
func (r *reader) tunnels() error {
	list, err := retry(r.space.links.LinkList)
	if err != nil || r.devices == nil {
		return err
	}
	for _, l := range list {
		a := l.Attrs()
		if a.Flags&net.FlagUp == 0 || !r.ours(a.Name) || plan.GenerationOf(a.Name) == 0 {
			continue
		}
		d, err := r.devices.Read(r.at, a.Name)
		if err != nil {
			continue
		}
		r.names[a.Index] = a.Name
		r.ns.Links[a.Name] = plan.Link{Kind: plan.WireGuard, MTU: a.MTU}
		if r.ns.Peers == nil {
			r.ns.Peers, r.ns.Allowed = map[plan.Remote]netip.AddrPort{}, map[plan.Allowed]string{}
		}
		maps.Copy(r.ns.Peers, d.Peers)
		maps.Copy(r.ns.Allowed, d.Allowed)
	}
	return nil
}

// vxlanInside makes a VXLAN device whose packets run through its own namespace.
func vxlanInside(s *space, attrs netlink.LinkAttrs, l plan.LinkItem) error {
	return s.links.LinkAdd(&netlink.Vxlan{LinkAttrs: attrs, VxlanId: int(l.VNI), SrcAddr: l.Local.AsSlice(), Port: 4789, UDPCSum: true})
}
