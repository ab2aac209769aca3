package tunnel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"shoal/internal/network/plan"
)

// errLacks says that the kernel has no WireGuard.
var errLacks = errors.New("this kernel has no WireGuard device")

// createInKernel makes the kernel's own device: from the host's namespace straight into the other, so that its UDP socket
// stays the host's. The key is handed over and forgotten.
func (t *Tunnels) createInKernel(d place, mtu int) error {
	ns, err := netns.GetFromPath(t.config.Spaces.Path(d.ns))
	if err != nil {
		return err
	}
	defer ns.Close()
	err = t.config.Spaces.In(plan.HostNS, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU, attrs.Namespace = d.name, mtu, netlink.NsFd(int(ns))
		return netlink.LinkAdd(&netlink.Wireguard{LinkAttrs: attrs})
	})
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return errLacks
	case errors.Is(err, unix.EEXIST):
		// A device that was not set up to its end, or a TUN without a process.
		if err := t.removeLink(d); err != nil {
			return err
		}
		return t.createInKernel(d, mtu)
	case err != nil:
		return fmt.Errorf("make WireGuard device %s: %w", d.name, err)
	}
	if err := t.startInKernel(d, mtu); err != nil {
		return errors.Join(fmt.Errorf("set up WireGuard device %s: %w", d.name, err), t.removeLink(d))
	}
	return nil
}

// startInKernel gives a device its key and the first port that is free: the kernel takes the port when the link comes up.
func (t *Tunnels) startInKernel(d place, mtu int) error {
	key, err := wgtypes.GeneratePrivateKey()
	if err != nil {
		return err
	}
	for port := FirstPort; port <= LastPort; port++ {
		if err = t.configure(d, wgtypes.Config{PrivateKey: &key, ListenPort: &port}); err != nil {
			return err
		}
		if err = t.setMTU(d, mtu); !errors.Is(err, unix.EADDRINUSE) {
			return err
		}
	}
	return err
}

// client does something with the kernel's devices of a namespace.
func (t *Tunnels) client(ns plan.NS, do func(*wgctrl.Client) error) error {
	return t.config.Spaces.In(ns, func() error {
		c, err := wgctrl.New()
		if err != nil {
			return err
		}
		return errors.Join(do(c), c.Close())
	})
}

func (t *Tunnels) configure(d place, c wgtypes.Config) error {
	return t.client(d.ns, func(client *wgctrl.Client) error { return client.ConfigureDevice(d.name, c) })
}

func (t *Tunnels) readKernel(d place) (Device, error) {
	out := Device{Peers: map[plan.Remote]netip.AddrPort{}, Allowed: map[plan.Allowed]string{}}
	err := t.client(d.ns, func(client *wgctrl.Client) error {
		have, err := client.Device(d.name)
		if err != nil {
			return err
		}
		out.Public, out.Port = have.PublicKey.String(), uint16(have.ListenPort)
		for _, p := range have.Peers {
			key := p.PublicKey.String()
			out.Peers[plan.Remote{Link: d.name, Key: key}] = addrPort(p.Endpoint)
			for _, a := range p.AllowedIPs {
				ip, _ := netip.AddrFromSlice(a.IP)
				ones, _ := a.Mask.Size()
				out.Allowed[plan.Allowed{Link: d.name, Prefix: netip.PrefixFrom(ip.Unmap(), ones)}] = key
			}
		}
		return nil
	})
	return out, err
}

func addrPort(a *net.UDPAddr) netip.AddrPort {
	if a == nil {
		return netip.AddrPort{}
	}
	p := a.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

func (t *Tunnels) changeKernel(d place, ops []plan.Op) error {
	public, err := t.publicOf(d)
	if err != nil {
		return err
	}
	c, err := kernelConfig(public, ops)
	if err != nil {
		return err
	}
	t.change.Lock()
	err = t.configure(d, c)
	t.change.Unlock()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(c.Peers, func(p wgtypes.PeerConfig) bool { return p.PersistentKeepaliveInterval != nil }) {
		go t.greetFromKernel(d)
	}
	return nil
}

// kernelConfig is the operations as the kernel's device takes them, in their order.
//
// Kernels before 6.16 cannot take one address from a peer: they can only replace all of its addresses, and a packet that
// comes in between is lost. So an address moves to a peer that nobody is, which is then removed.
func kernelConfig(public string, ops []plan.Op) (wgtypes.Config, error) {
	var c wgtypes.Config
	nobody := wgtypes.PeerConfig{PublicKey: wgtypes.Key{1: 0x53}}
	every := keepalive * time.Second
	for _, op := range ops {
		switch item := op.Item.(type) {
		case plan.PeerItem:
			key, err := wgtypes.ParseKey(item.Key)
			if err != nil {
				return c, err
			}
			if op.Delete {
				c.Peers = append(c.Peers, wgtypes.PeerConfig{PublicKey: key, Remove: true})
				continue
			}
			p := wgtypes.PeerConfig{PublicKey: key, Endpoint: net.UDPAddrFromAddrPort(item.Endpoint)}
			if initiates(public, item.Key) {
				p.PersistentKeepaliveInterval = &every
			}
			c.Peers = append(c.Peers, p)
		case plan.AllowedItem:
			key, err := wgtypes.ParseKey(item.Key)
			if err != nil {
				return c, err
			}
			address := net.IPNet{IP: item.Prefix.Addr().AsSlice(), Mask: net.CIDRMask(item.Prefix.Bits(), item.Prefix.Addr().BitLen())}
			if op.Delete {
				nobody.AllowedIPs = append(nobody.AllowedIPs, address)
				continue
			}
			if last := len(c.Peers) - 1; last >= 0 && c.Peers[last].PublicKey == key && !c.Peers[last].Remove {
				c.Peers[last].AllowedIPs = append(c.Peers[last].AllowedIPs, address)
			} else {
				c.Peers = append(c.Peers, wgtypes.PeerConfig{PublicKey: key, UpdateOnly: true, AllowedIPs: []net.IPNet{address}})
			}
		default:
			return c, fmt.Errorf("operation %T on a WireGuard device", op.Item)
		}
	}
	if len(nobody.AllowedIPs) > 0 {
		c.Peers = append([]wgtypes.PeerConfig{nobody, {PublicKey: nobody.PublicKey, Remove: true}}, c.Peers...)
	}
	return c, nil
}

// greetFromKernel does for the kernel's device what a greeter does in a process: peers that never answered are put in
// anew, which shakes hands at once. They have no session that this could end.
func (t *Tunnels) greetFromKernel(d place) {
	for delay := firstGreeting; delay <= lastGreeting; delay *= 2 {
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-t.over:
			timer.Stop()
			return
		}
		var c wgtypes.Config
		t.change.Lock()
		err := t.client(d.ns, func(client *wgctrl.Client) error {
			have, err := client.Device(d.name)
			if err != nil {
				return err
			}
			for _, p := range have.Peers {
				if p.LastHandshakeTime.IsZero() && initiates(have.PublicKey.String(), p.PublicKey.String()) {
					c.Peers = append(c.Peers, wgtypes.PeerConfig{PublicKey: p.PublicKey, Remove: true}, wgtypes.PeerConfig{
						PublicKey: p.PublicKey, Endpoint: p.Endpoint, AllowedIPs: p.AllowedIPs, PersistentKeepaliveInterval: &p.PersistentKeepaliveInterval,
					})
				}
			}
			if len(c.Peers) == 0 {
				return nil
			}
			return client.ConfigureDevice(d.name, c)
		})
		t.change.Unlock()
		if err != nil || len(c.Peers) == 0 {
			return // the device is gone, or all have answered
		}
	}
}
