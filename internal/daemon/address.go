package daemon

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"

	"shoal/internal/cluster"
)

// defaultPort is the port that nodes speak to one another on.
const defaultPort = "2377"

// link is a network interface with its global addresses, IPv4 first.
type link struct {
	name  string
	addrs []netip.Addr
}

// links reads the interfaces that could be advertised: up, no loopback, and not made for containers.
func links() ([]link, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var out []link
	for _, i := range all {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 || containerLink(i.Name) {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			return nil, err
		}
		l := link{name: i.Name}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().IsGlobalUnicast() {
				l.addrs = append(l.addrs, p.Addr().Unmap())
			}
		}
		slices.SortStableFunc(l.addrs, func(a, b netip.Addr) int { return a.BitLen() - b.BitLen() })
		if len(l.addrs) > 0 {
			out = append(out, l)
		}
	}
	return out, nil
}

func containerLink(name string) bool {
	for _, p := range []string{"docker", "veth", "br-", "shoal", "virbr", "cni"} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

// advertise works out the address that other nodes reach this one at: want may be empty, an address, an interface's
// name, each with or without a port. listen lends its address when it names one.
func advertise(want, listen string, all []link) (netip.AddrPort, error) {
	host, port, err := splitPort(want)
	if err != nil {
		return netip.AddrPort{}, err
	}
	lhost, lport, err := splitPort(listen)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if port == "" {
		port = lport
	}
	if port == "" {
		port = defaultPort
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, cluster.Errorf(errdefs.ErrInvalidArgument, "invalid port %q in the advertised address %q", port, want)
	}
	if a, err := netip.ParseAddr(lhost); host == "" && err == nil && !a.IsUnspecified() {
		host = lhost
	}
	if host == "" {
		a, err := choose(all)
		return netip.AddrPortFrom(a, uint16(n)), err
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if a.IsUnspecified() {
			return netip.AddrPort{}, cluster.Errorf(errdefs.ErrInvalidArgument, "advertise address must be a non-zero IP address or network interface (with optional port number)")
		}
		return netip.AddrPortFrom(a.Unmap(), uint16(n)), nil
	}
	for _, l := range all {
		if l.name == host {
			return netip.AddrPortFrom(l.addrs[0], uint16(n)), nil
		}
	}
	return netip.AddrPort{}, cluster.Errorf(errdefs.ErrInvalidArgument, "%q is neither an IP address nor an interface of this machine with one", host)
}

// has says whether one of the links has the address.
func has(all []link, addr netip.Addr) bool {
	return slices.ContainsFunc(all, func(l link) bool { return slices.Contains(l.addrs, addr.Unmap()) })
}

// choose takes the only address there is, and refuses to guess between several.
func choose(all []link) (netip.Addr, error) {
	switch {
	case len(all) == 0:
		return netip.Addr{}, cluster.Errorf(errdefs.ErrInvalidArgument, "could not find the system's IP address - specify one with --advertise-addr")
	case len(all) > 1:
		return netip.Addr{}, cluster.Errorf(errdefs.ErrInvalidArgument,
			"could not choose an IP address to advertise since this system has multiple addresses on different interfaces (%s on %s and %s on %s) - specify one with --advertise-addr",
			all[0].addrs[0], all[0].name, all[1].addrs[0], all[1].name)
	}
	return all[0].addrs[0], nil
}

// splitPort splits "host", "host:port", "[v6]:port" and a bare IPv6 address.
func splitPort(s string) (host, port string, err error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.String(), "", nil
	}
	if !strings.Contains(s, ":") {
		return s, "", nil
	}
	host, port, err = net.SplitHostPort(s)
	if err != nil {
		return "", "", cluster.Errorf(errdefs.ErrInvalidArgument, "invalid address %q: want host or host:port", s)
	}
	return host, port, nil
}

// listenAddr completes --listen-addr; an interface's name stands for its address.
func listenAddr(want string, all []link) (string, error) {
	host, port, err := splitPort(want)
	if err != nil {
		return "", err
	}
	if port == "" {
		port = defaultPort
	}
	if host == "" {
		host = "0.0.0.0"
	}
	if _, err := netip.ParseAddr(host); err != nil {
		i := slices.IndexFunc(all, func(l link) bool { return l.name == host })
		if i < 0 {
			return "", cluster.Errorf(errdefs.ErrInvalidArgument, "listen address must be an IP address or network interface (with optional port number), not %q", host)
		}
		host = all[i].addrs[0].String()
	}
	return net.JoinHostPort(host, port), nil
}

// dataAddr is where overlay traffic goes: the advertised address unless another is wanted.
func dataAddr(want string, advertised netip.Addr, all []link) (netip.Addr, error) {
	if want == "" {
		return advertised, nil
	}
	ap, err := advertise(want, "", all)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("data path address: %w", err)
	}
	return ap.Addr(), nil
}
