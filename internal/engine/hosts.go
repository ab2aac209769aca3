package engine

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"shoal/internal/network"
)

// names is what a container's hostname, hosts and resolv.conf say.
type names struct {
	Hostname, Domainname string
	HostNetwork          bool // the node's own files are the base
	Addresses            []netip.Addr
	Extra                []string   // "name:address"
	Gateway              netip.Addr // what host-gateway stands for
	Nameservers          []string
	Search, Options      []string
}

const hostsHead = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"

// hostsFile is hosts(5) for a container; base is the node's file when the network is the node's. Pure.
func (n names) hostsFile(base string) string {
	var b strings.Builder
	if n.HostNetwork {
		b.WriteString(strings.TrimRight(base, "\n") + "\n")
	} else {
		b.WriteString(hostsHead)
	}
	for _, e := range n.Extra {
		name, addr, ok := strings.Cut(e, ":")
		if eq := strings.Index(e, "="); eq > 0 && (!ok || eq < len(name)) { // name=address, as newer clients write
			name, addr = e[:eq], e[eq+1:]
		}
		addr = strings.Trim(addr, "[]")
		if addr == "host-gateway" {
			if !n.Gateway.IsValid() {
				continue
			}
			addr = n.Gateway.String()
		}
		fmt.Fprintf(&b, "%s\t%s\n", addr, name)
	}
	if n.HostNetwork {
		return b.String()
	}
	own := n.Hostname
	if n.Domainname != "" {
		own = n.Hostname + "." + n.Domainname + " " + n.Hostname
	}
	for _, a := range n.Addresses {
		fmt.Fprintf(&b, "%s\t%s\n", a, own)
	}
	return b.String()
}

// resolvFile is resolv.conf(5) for a container. base is the node's: it counts for what the names leave open. A name
// server on the node's loopback is out of a container's reach and left out. Pure.
func (n names) resolvFile(base string) string {
	servers, search, options := n.Nameservers, n.Search, n.Options
	var baseServers, baseSearch, baseOptions []string
	for sc := bufio.NewScanner(strings.NewReader(base)); sc.Scan(); {
		f := strings.Fields(sc.Text())
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(f[1]); err == nil && (n.HostNetwork || !a.IsLoopback()) {
				baseServers = append(baseServers, f[1])
			}
		case "search", "domain":
			baseSearch = f[1:]
		case "options":
			baseOptions = f[1:]
		}
	}
	if len(servers) == 0 {
		servers = baseServers
	}
	if len(servers) == 0 {
		servers = []string{"8.8.8.8", "8.8.4.4"} // as Docker does
	}
	if len(search) == 0 {
		search = baseSearch
	}
	if len(options) == 0 {
		options = baseOptions
	}
	var b strings.Builder
	for _, s := range servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(search) > 0 && !(len(search) == 1 && search[0] == ".") {
		fmt.Fprintf(&b, "search %s\n", strings.Join(search, " "))
	}
	if len(options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(options, " "))
	}
	return b.String()
}

// resolverOptions are those of a container that asks our name server, whose users have not chosen their own. A question that
// comes while the daemon starts anew is lost: it is asked again after two seconds, not five. That is longer than the name
// server waits for the first of the node's resolvers, so that one that is dead does not make every answer come too late.
var resolverOptions = []string{"ndots:0", "timeout:2", "attempts:3"}

// namesOf works out a container's names from its configuration and its place in the network.
func (e *Engine) namesOf(c *container.Config, h *container.HostConfig, box *network.Sandbox) names {
	n := names{
		Hostname: c.Hostname, Domainname: c.Domainname, HostNetwork: box.Path == "", Extra: h.ExtraHosts,
		Search: h.DNSSearch, Options: h.DNSOptions,
	}
	if len(n.Search) == 0 {
		n.Search = e.cfg.DNSSearch
	}
	if len(n.Options) == 0 {
		n.Options = e.cfg.DNSOptions
	}
	for _, ep := range box.Endpoints {
		for _, a := range []netip.Addr{ep.IPAddress, ep.GlobalIPv6Address} {
			if a.IsValid() {
				n.Addresses = append(n.Addresses, a)
			}
		}
		if ep.Gateway.IsValid() && !n.Gateway.IsValid() {
			n.Gateway = ep.Gateway
		}
	}
	slices.SortFunc(n.Addresses, netip.Addr.Compare)
	switch {
	case box.Nameserver != "":
		n.Nameservers = []string{box.Nameserver}
		if len(n.Options) == 0 {
			n.Options = slices.Clone(resolverOptions)
		}
	default:
		n.Nameservers = dnsServers(h, e.cfg.DNS)
	}
	return n
}

func dnsServers(h *container.HostConfig, daemon []string) []string {
	if len(h.DNS) == 0 {
		return daemon
	}
	var all []string
	for _, a := range h.DNS {
		all = append(all, a.String())
	}
	return all
}

// writeNames writes the three files and returns their mounts. A mount that the user has put there wins.
func (c *Container) writeNames(n names, taken func(target string) bool) ([]specs.Mount, error) {
	node := func(path string) string { b, _ := os.ReadFile(path); return string(b) }
	var out []specs.Mount
	for _, f := range []struct{ name, target, text string }{
		{"hostname", "/etc/hostname", n.Hostname + "\n"},
		{"hosts", "/etc/hosts", n.hostsFile(node("/etc/hosts"))},
		{"resolv.conf", "/etc/resolv.conf", n.resolvFile(node("/etc/resolv.conf"))},
	} {
		if taken(f.target) {
			continue
		}
		path := filepath.Join(c.Dir(), f.name)
		if err := os.WriteFile(path, []byte(f.text), 0o644); err != nil { // the container's users read them
			return nil, fmt.Errorf("write the container's %s: %w", f.name, err)
		}
		out = append(out, specs.Mount{Destination: f.target, Type: "bind", Source: path, Options: []string{"rbind", "rprivate"}})
	}
	return out, nil
}
