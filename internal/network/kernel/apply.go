package kernel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"shoal/internal/network/plan"
)

// protocol marks our routes, so that reading tells them from the kernel's and other people's (rtnetlink(7); 83 is free).
const protocol = 83

// Apply does the operations in order. It stops at the first that fails: those before it hold, of an nftables transaction
// all or nothing; read again to know. An operation that finds its work done already is no error.
func (k *Kernel) Apply(ctx context.Context, ops []plan.Op) error {
	a := &applier{k: k, index: map[linkKey]int{}}
	for len(ops) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := a.run(ops)
		if err != nil {
			return fmt.Errorf("%s: %w", ops[0], err)
		}
		ops = ops[n:]
	}
	return nil
}

type linkKey struct {
	ns   plan.NS
	name string
}

type applier struct {
	k     *Kernel
	index map[linkKey]int
}

// run does the first operation and those behind it that go in one step with it.
func (a *applier) run(ops []plan.Op) (int, error) {
	first := ops[0]
	same := func(is func(plan.Op) bool) (n int) {
		for n < len(ops) && ops[n].NS == first.NS && is(ops[n]) {
			n++
		}
		return n
	}
	switch first.Item.(type) {
	case plan.Pin:
		if first.Delete {
			return 1, a.k.unpin(first.NS)
		}
		if err := a.k.pin(first.NS); err != nil && !errors.Is(err, os.ErrExist) {
			return 1, err
		}
		return 1, nil
	case plan.Sysctl:
		n := same(func(o plan.Op) bool { _, ok := o.Item.(plan.Sysctl); return ok })
		items := make([]plan.Sysctl, n)
		for i := range items {
			items[i] = ops[i].Item.(plan.Sysctl)
		}
		return n, a.k.sysctls(first.NS, items)
	case plan.TableID, plan.SetItem, plan.ChainItem, plan.Flush, plan.RuleItem, plan.Element:
		n := same(isTable)
		return n, a.k.transact(first.NS, ops[:n])
	case plan.PeerItem, plan.AllowedItem:
		return a.tunnel(ops)
	}
	return 1, a.one(first)
}

func isTable(o plan.Op) bool {
	switch o.Item.(type) {
	case plan.TableID, plan.SetItem, plan.ChainItem, plan.Flush, plan.RuleItem, plan.Element:
		return true
	}
	return false
}

func (a *applier) one(op plan.Op) error {
	s, err := a.k.space(op.NS)
	if err != nil {
		return err
	}
	switch item := op.Item.(type) {
	case plan.LinkItem:
		if item.Kind == plan.WireGuard {
			return a.tunnelLink(op, item)
		}
		if op.Delete {
			return a.removeLink(s, op.NS, item.Name)
		}
		return a.link(s, op.NS, item)
	case plan.Addr:
		index, err := a.indexOf(s, op.NS, item.Link)
		if err != nil {
			return gone(op.Delete, err)
		}
		return address(s, index, op.Delete, item)
	case plan.RouteItem:
		return a.route(s, op, item)
	case plan.NeighItem:
		index, err := a.indexOf(s, op.NS, item.Link)
		if err != nil {
			return gone(op.Delete, err)
		}
		n := &netlink.Neigh{LinkIndex: index, IP: item.IP.AsSlice(), HardwareAddr: item.MAC[:], State: netlink.NUD_PERMANENT, Family: familyOf(item.IP)}
		return neigh(s, op.Delete, n)
	case plan.FDBItem:
		index, err := a.indexOf(s, op.NS, item.Link)
		if err != nil {
			return gone(op.Delete, err)
		}
		n := &netlink.Neigh{
			LinkIndex: index, IP: item.To.AsSlice(), HardwareAddr: item.MAC[:], State: netlink.NUD_PERMANENT,
			Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF,
		}
		return neigh(s, op.Delete, n)
	case plan.Rule:
		return rule(s, op.Delete, item)
	}
	return fmt.Errorf("unknown operation %T", op.Item)
}

// gone: what is deleted from a link that is gone is deleted.
func gone(deleting bool, err error) error {
	if missing := (netlink.LinkNotFoundError{}); deleting && errors.As(err, &missing) {
		return nil
	}
	return err
}

func done(err error, fine ...error) error {
	for _, f := range fine {
		if errors.Is(err, f) {
			return nil
		}
	}
	return err
}

func (a *applier) indexOf(s *space, ns plan.NS, name string) (int, error) {
	if i, ok := a.index[linkKey{ns, name}]; ok {
		return i, nil
	}
	l, err := s.links.LinkByName(name)
	if err != nil {
		return 0, err
	}
	a.index[linkKey{ns, name}] = l.Attrs().Index
	return l.Attrs().Index, nil
}

func address(s *space, index int, deleting bool, a plan.Addr) error {
	addr := &netlink.Addr{IPNet: ipNet(a.Prefix)}
	link := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: index}}
	if deleting {
		return done(s.links.AddrDel(link, addr), unix.EADDRNOTAVAIL)
	}
	if a.NoRoute {
		addr.Flags |= unix.IFA_F_NOPREFIXROUTE
	}
	if a.Prefix.Addr().Is6() {
		addr.Flags |= unix.IFA_F_NODAD
	} else {
		addr.Scope = unix.RT_SCOPE_UNIVERSE // masquerading takes no other address
	}
	return s.links.AddrReplace(link, addr)
}

func (a *applier) route(s *space, op plan.Op, item plan.RouteItem) error {
	index, err := a.indexOf(s, op.NS, item.Link)
	if err != nil {
		return gone(op.Delete, err)
	}
	r := &netlink.Route{LinkIndex: index, Dst: ipNet(item.Prefix), Protocol: protocol, Table: item.Table, Family: familyOf(item.Prefix.Addr())}
	if r.Table == 0 {
		r.Table = unix.RT_TABLE_MAIN
	}
	switch {
	case item.Local:
		r.Type, r.Scope = unix.RTN_LOCAL, unix.RT_SCOPE_HOST
	case item.Via.IsValid():
		r.Gw, r.Flags = item.Via.AsSlice(), int(netlink.FLAG_ONLINK)
	case item.Prefix.Addr().Is4():
		r.Scope = unix.RT_SCOPE_LINK
	}
	if item.Src.IsValid() {
		r.Src = item.Src.AsSlice()
	}
	if op.Delete {
		return done(s.links.RouteDel(r), unix.ESRCH)
	}
	return s.links.RouteReplace(r)
}

func neigh(s *space, deleting bool, n *netlink.Neigh) error {
	if deleting {
		return done(s.links.NeighDel(n), unix.ENOENT)
	}
	return s.links.NeighSet(n)
}

func rule(s *space, deleting bool, r plan.Rule) error {
	nr := netlink.NewRule()
	nr.Mark, nr.Mask, nr.Table, nr.Family = r.Mark, &r.Mask, r.Table, unix.AF_INET
	if r.V6 {
		nr.Family = unix.AF_INET6
	}
	nr.Protocol = protocol
	if deleting {
		return done(s.links.RuleDel(nr), unix.ENOENT)
	}
	return done(s.links.RuleAdd(nr), unix.EEXIST)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
