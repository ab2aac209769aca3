package kernel

import (
	"errors"
	"net"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"shoal/internal/network/plan"
)

// link makes a device, or sets right one that is there, and brings it up.
func (a *applier) link(s *space, ns plan.NS, l plan.LinkItem) error {
	delete(a.index, linkKey{ns, l.Name})
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = l.Name, l.MTU, l.MAC[:]
	attrs.NumTxQueues, attrs.NumRxQueues = 1, 1
	var err error
	switch l.Kind {
	case plan.Veth:
		peer, e := a.k.space(l.PeerNS)
		if e != nil {
			return e
		}
		v := netlink.NewVeth(attrs)
		v.PeerName, v.PeerNamespace, v.PeerMTU = l.PeerName, netlink.NsFd(int(peer.fd)), uint32(l.MTU)
		v.PeerNumTxQueues, v.PeerNumRxQueues = 1, 1
		err = s.links.LinkAdd(v)
		if _, lost := peer.links.LinkByName(l.PeerName); errors.Is(err, unix.EEXIST) && lost != nil {
			// The other end is in a namespace that is on its way out.
			if err = a.removeLink(s, ns, l.Name); err == nil {
				err = s.links.LinkAdd(v)
			}
		}
	case plan.VXLAN:
		if l.Inside() {
			err = vxlanInside(s, attrs, l)
			break
		}
		// Made from the host's namespace straight into N: the socket of the underlay stays the host's.
		host, e := a.k.space(plan.HostNS)
		if e != nil {
			return e
		}
		attrs.Namespace = netlink.NsFd(int(s.fd))
		err = host.links.LinkAdd(&netlink.Vxlan{LinkAttrs: attrs, VxlanId: int(l.VNI), SrcAddr: l.Local.AsSlice(), Port: 4789, UDPCSum: true})
	}
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	made := err == nil && (l.Kind == plan.Veth || l.Kind == plan.VXLAN)
	index, err := a.indexOf(s, ns, l.Name)
	if err != nil {
		return err
	}
	if l.Kind != plan.Loopback && !made {
		if err := set(s, index, l); err != nil {
			return err
		}
	}
	if err := s.links.LinkSetUp(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: index}}); err != nil {
		return err
	}
	if l.Kind == plan.VXLAN {
		return a.k.In(ns, func() error { return groOff(l.Name) })
	}
	return nil
}

func set(s *space, index int, l plan.LinkItem) error {
	link := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: index}}
	if err := s.links.LinkSetHardwareAddr(link, net.HardwareAddr(l.MAC[:])); err != nil {
		return err
	}
	return s.links.LinkSetMTU(link, l.MTU)
}

func (a *applier) removeLink(s *space, ns plan.NS, name string) error {
	delete(a.index, linkKey{ns, name})
	l, err := s.links.LinkByName(name)
	if err != nil {
		return gone(true, err)
	}
	return done(s.links.LinkDel(l), unix.ENODEV)
}

// groOff switches generic receive offload off: a routed packet is cut up again at once, and merging it first cost a tenth
// of the overlay's throughput. ethtool(8)'s ioctl, from linux/ethtool.h.
func groOff(name string) error {
	const setGRO = 0x2c
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	value := [2]uint32{setGRO, 0}
	var request struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}
	copy(request.name[:unix.IFNAMSIZ-1], name)
	request.data = unsafe.Pointer(&value)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	if errno != 0 && errno != unix.EOPNOTSUPP {
		return errno
	}
	return nil
}
