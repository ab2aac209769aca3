package image

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/registry"

	"shoal/internal/cluster"
)

// hub is Docker Hub as names have it, hubHost as the network does, hubServer as credentials do.
const (
	hub       = "docker.io"
	hubHost   = "registry-1.docker.io"
	hubServer = "https://index.docker.io/v1/"
)

// registries says how each registry is reached.
type registries struct {
	mirrors  []*url.URL
	insecure map[string]bool // host or host:port
	ranges   []netip.Prefix
	// The transports live as long as the store, so that connections are used again. loose takes any certificate.
	strict, loose http.RoundTripper
}

func newRegistries(mirrors, insecure []string) (registries, error) {
	r := registries{
		insecure: map[string]bool{}, strict: docker.DefaultHTTPTransport(nil),
		loose: docker.DefaultHTTPTransport(&tls.Config{InsecureSkipVerify: true}),
	} //nolint:gosec // asked for by --insecure-registry
	for _, m := range mirrors {
		u, err := url.Parse(m)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return r, cluster.Errorf(errdefs.ErrInvalidArgument, "invalid mirror: %q is not a URL like https://mirror.example.com", m)
		}
		r.mirrors = append(r.mirrors, u)
	}
	for _, i := range insecure {
		switch p, err := netip.ParsePrefix(i); {
		case err == nil:
			r.ranges = append(r.ranges, p.Masked())
		case i == "" || strings.Contains(i, "/"):
			return r, cluster.Errorf(errdefs.ErrInvalidArgument, "insecure registry %q is not a host, host:port or CIDR", i)
		default:
			r.insecure[strings.ToLower(i)] = true
		}
	}
	return r, nil
}

// loopback are the ranges that are insecure without being named, as in Docker.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// allowsInsecure says whether a registry (host or host:port) may be spoken to without a certificate. Host names are
// not looked up: only an address in the name is matched against the ranges.
func (r registries) allowsInsecure(host string) bool {
	host = strings.ToLower(host)
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	if r.insecure[host] || r.insecure[name] || name == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(name, "[]"))
	if err != nil {
		return false
	}
	for _, p := range append(loopback, r.ranges...) {
		if p.Contains(addr.Unmap()) {
			return true
		}
	}
	return false
}

// host describes one registry. The scheme is https; where the registry is insecure, a server that answers https with
// plain HTTP is spoken to in HTTP.
func (r registries) host(addr string, capabilities docker.HostCapabilities, auth docker.Authorizer) docker.RegistryHost {
	t := r.strict
	if r.allowsInsecure(addr) {
		t = docker.NewHTTPFallback(r.loose) // one for each host: it remembers a single one
	}
	return docker.RegistryHost{
		Client: &http.Client{Transport: t}, Authorizer: auth, Host: addr, Scheme: "https", Path: "/v2",
		Capabilities: capabilities,
	}
}

// hosts lists the registries that serve a name's domain, in the order to ask them: the mirrors (of Docker Hub only,
// without credentials, which are not theirs) and the registry itself.
func (r registries) hosts(auth registry.AuthConfig) docker.RegistryHosts {
	const read = docker.HostCapabilityPull | docker.HostCapabilityResolve
	return func(domain string) ([]docker.RegistryHost, error) {
		var all []docker.RegistryHost
		addr := domain
		if domain == hub {
			addr = hubHost
			for _, m := range r.mirrors {
				h := r.host(m.Host, read, docker.NewDockerAuthorizer(docker.WithAuthClient(&http.Client{Transport: r.strict})))
				if h.Scheme = m.Scheme; h.Scheme == "http" {
					h.Client = &http.Client{Transport: r.strict}
				}
				h.Path = strings.TrimSuffix(m.Path, "/") + "/v2"
				all = append(all, h)
			}
		}
		h := r.host(addr, read|docker.HostCapabilityPush, nil)
		h.Authorizer = authorizer(auth, h.Client)
		if auth.RegistryToken != "" {
			h.Header = http.Header{"Authorization": {"Bearer " + auth.RegistryToken}}
			h.Authorizer = nil
		}
		return append(all, h), nil
	}
}

// authorizer answers a registry's challenges with the credentials in auth, or anonymously.
func authorizer(auth registry.AuthConfig, c *http.Client) docker.Authorizer {
	return docker.NewDockerAuthorizer(docker.WithAuthClient(c), docker.WithAuthCreds(func(string) (string, string, error) {
		if auth.IdentityToken != "" {
			return "", auth.IdentityToken, nil
		}
		return auth.Username, auth.Password, nil
	}))
}

func (r registries) resolver(auth registry.AuthConfig) remotes.Resolver {
	return docker.NewResolver(docker.ResolverOptions{Hosts: r.hosts(auth), Headers: http.Header{"User-Agent": {"shoal"}}})
}
