package playground

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	bridge = "br0"  // in the switch
	cable  = "eth0" // in a machine
)

// port is the switch's end of machine n's cable.
func port(n int) string { return "p" + strconv.Itoa(n) }

// inside opens a netlink socket in the network namespace of process pid.
func inside(pid int) (*netlink.Handle, error) {
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return nil, fmt.Errorf("network namespace of process %d: %w", pid, err)
	}
	defer ns.Close()
	return netlink.NewHandleAt(ns)
}

// switchHandle opens a netlink socket in the switch.
func (p *Playground) switchHandle() (*netlink.Handle, error) {
	pid := p.Switch().pid()
	if pid == 0 {
		return nil, errors.New("the playground's switch is off")
	}
	return inside(pid)
}

// plugIn gives the machine whose init is pid its interfaces: the bridge, or a cable to it.
func (m *Machine) plugIn(pid int) error {
	own, err := inside(pid)
	if err != nil {
		return err
	}
	defer own.Close()
	if err := up(own, "lo"); err != nil {
		return err
	}
	name := cable
	if m.Number == switchHost {
		name = bridge
		if err := own.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}); err != nil {
			return fmt.Errorf("bridge: %w", err)
		}
	} else if err := m.of.lay(m.Number, pid); err != nil {
		return err
	}
	link, err := own.LinkByName(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := own.AddrAdd(link, &netlink.Addr{IPNet: ipnet(netip.PrefixFrom(m.Address, m.of.Subnet.Bits()))}); err != nil {
		return fmt.Errorf("%s: address %s: %w", name, m.Address, err)
	}
	if err := own.LinkSetUp(link); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	// Nobody else has it: nothing is to be waited for.
	err = own.AddrAdd(link, &netlink.Addr{IPNet: ipnet(netip.PrefixFrom(m.Address6, 64)), Flags: unix.IFA_F_NODAD})
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) { // a kernel without IPv6
		return fmt.Errorf("%s: address %s: %w", name, m.Address6, err)
	}
	if m.Number == switchHost {
		return nil
	}
	gateway := net.IP(m.of.address(switchHost).AsSlice())
	if err := own.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: gateway}); err != nil {
		return fmt.Errorf("route by %s: %w", gateway, err)
	}
	return nil
}

// lay puts a cable between machine n, whose init is pid, and the switch.
func (p *Playground) lay(n, pid int) error {
	h, err := p.switchHandle()
	if err != nil {
		return err
	}
	defer h.Close()
	br, err := h.LinkByName(bridge)
	if err != nil {
		return fmt.Errorf("switch: %w", err)
	}
	veth := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: port(n), MasterIndex: br.Attrs().Index},
		PeerName:  cable, PeerNamespace: netlink.NsPid(pid),
	}
	if err := h.LinkAdd(veth); err != nil {
		return fmt.Errorf("cable: %w", err)
	}
	return up(h, port(n))
}

// unplug removes the machine's cable, so that a machine being cut off sends nothing more. One without a cable is left as it is.
func (p *Playground) unplug(m *Machine) error {
	if p.Switch().pid() == 0 {
		return nil
	}
	if err := m.open(); err != nil {
		return err
	}
	h, err := p.switchHandle()
	if err != nil {
		return err
	}
	defer h.Close()
	link, err := h.LinkByName(port(m.Number))
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("machine %s: %w", m.Name, err)
	}
	if err := h.LinkDel(link); err != nil && !errors.As(err, new(netlink.LinkNotFoundError)) {
		return fmt.Errorf("machine %s: cable: %w", m.Name, err)
	}
	return nil
}

// Cut pulls the machine's cable out of the switch: it runs on, and nobody reaches it. Both ends keep their carrier, as behind
// a broken switch.
func (m *Machine) Cut() error { return m.cableTo(false) }

// Heal plugs the cable in again, and lets everything pass in both directions.
func (m *Machine) Heal() error {
	if err := m.cableTo(true); err != nil {
		return err
	}
	return m.open()
}

func (m *Machine) cableTo(plugged bool) error {
	link, err := m.cable()
	if err != nil {
		return err
	}
	h, err := m.of.switchHandle()
	if err != nil {
		return err
	}
	defer h.Close()
	if !plugged {
		return h.LinkSetNoMaster(link)
	}
	br, err := h.LinkByName(bridge)
	if err != nil {
		return fmt.Errorf("switch: %w", err)
	}
	return h.LinkSetMaster(link, br)
}

// cable is the switch's end of the machine's cable.
func (m *Machine) cable() (netlink.Link, error) {
	h, err := m.of.switchHandle()
	if err != nil {
		return nil, err
	}
	defer h.Close()
	link, err := h.LinkByName(port(m.Number))
	if err != nil {
		return nil, fmt.Errorf("machine %s has no cable (is it off?): %w", m.Name, err)
	}
	return link, nil
}

// Cable says how the machine is connected: "in", "out" (see Cut), "deaf", "mute", or both of these.
func (m *Machine) Cable() string {
	link, err := m.cable()
	if err != nil || link.Attrs().MasterIndex == 0 {
		return "out"
	}
	if walls, err := m.walls(); err == nil && len(walls) > 0 {
		return strings.Join(walls, " and ")
	}
	return "in"
}

func up(h *netlink.Handle, name string) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func ipnet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: net.IP(p.Addr().AsSlice()), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
