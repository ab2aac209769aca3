package dns

import (
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	// upstreamTimeout is per server: libc waits five seconds in all.
	upstreamTimeout = 1500 * time.Millisecond
	// maxUpstream bounds the queries under way; more are answered SERVFAIL, and libc asks again.
	maxUpstream = 1024
	resolvConf  = "/etc/resolv.conf"
)

type upstream struct {
	servers []string
	slots   chan struct{}

	mu     sync.Mutex
	read   time.Time // resolv.conf's own time when it was read
	system []string
}

func newUpstream(servers []string) *upstream {
	return &upstream{servers: servers, slots: make(chan struct{}, maxUpstream)}
}

// ask forwards a query. When no server can be reached, a name of one label does not exist, since only our own networks
// have such; of others it is not known.
func (u *upstream) ask(q *dns.Msg, network string, servers []string) *dns.Msg {
	select {
	case u.slots <- struct{}{}:
		defer func() { <-u.slots }()
	default:
		return new(dns.Msg).SetRcode(q, dns.RcodeServerFailure)
	}
	if len(servers) == 0 {
		servers = u.servers
	}
	if len(servers) == 0 {
		servers = u.fromSystem()
	}
	client := &dns.Client{Net: network, Timeout: upstreamTimeout, UDPSize: 4096}
	for _, server := range servers[:min(len(servers), 3)] {
		reply, _, err := client.Exchange(q, withPort(server))
		if err == nil {
			reply.Id = q.Id
			return reply
		}
	}
	code := dns.RcodeServerFailure
	if strings.Count(strings.TrimSuffix(q.Question[0].Name, "."), ".") == 0 {
		code = dns.RcodeNameError
	}
	return new(dns.Msg).SetRcode(q, code)
}

func withPort(server string) string {
	if _, _, err := net.SplitHostPort(server); err == nil {
		return server
	}
	return net.JoinHostPort(server, "53")
}

// fromSystem reads resolv.conf again when the file has changed.
func (u *upstream) fromSystem() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	info, err := os.Stat(resolvConf)
	if err != nil {
		return nil
	}
	if !info.ModTime().Equal(u.read) {
		u.read = info.ModTime()
		u.system = nil
		if c, err := dns.ClientConfigFromFile(resolvConf); err == nil {
			u.system = c.Servers
		}
	}
	return u.system
}
