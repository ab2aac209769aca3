package e2e

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"shoal/internal/cli/playground"
	"shoal/test/e2e/load"
)

// dialFrom opens connections from a machine; hosts are addresses, names of machines, or those with -6 behind for their
// IPv6 addresses.
func (s *story) dialFrom(from *playground.Machine) load.Dial {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		to, err := s.address(addr)
		if err != nil {
			return nil, err
		}
		return from.Dial(ctx, network, to)
	}
}

// address is host:port with a machine's name made its address: there is no name server.
func (s *story) address(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", err
	}
	name, six := strings.CutSuffix(host, "-6")
	if m, err := s.Find(name); err == nil {
		if host = m.Address.String(); six {
			host = m.Address6.String()
		}
	}
	return net.JoinHostPort(host, port), nil
}

// spread is: spread [@N] HOSTS COUNT URL...
func spread(ts *testscript.TestScript, s *story, args []string) error {
	from := s.Client()
	if strings.HasPrefix(args[0], "@") {
		var err error
		if from, args, err = s.node(args); err != nil {
			return err
		}
	}
	hosts, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	count, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	own := map[string]bool{}
	if from == s.Client() {
		own[from.Address.String()], own[from.Address6.String()] = true, true
	}
	for _, to := range args[2:] {
		heard, err := s.ask(from, own, to, count)
		if err != nil {
			return fmt.Errorf("%s: %w", to, err)
		}
		fmt.Fprintln(ts.Stdout(), to, slices.Sorted(maps.Keys(heard)))
		if len(heard) != hosts {
			return fmt.Errorf("%s: %d hosts have answered %d requests, want %d", to, len(heard), count, hosts)
		}
	}
	return nil
}

var answer = regexp.MustCompile(`host=(\S+) .*caller=(\S+)`)

// ask makes requests, of which every one must be answered, and by a task that saw one of own (if there are any). It returns
// how often each host answered.
func (s *story) ask(from *playground.Machine, own map[string]bool, to string, count int) (map[string]int, error) {
	u, err := url.Parse(to)
	if err != nil {
		return nil, err
	}
	dial := s.dialFrom(from)
	c := &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: dial}}
	heard := map[string]int{}
	for i := range count {
		var said string
		if u.Scheme == "udp" {
			said, err = load.Ask(s.ctx, dial, u.Host)
		} else {
			said, err = load.Get(s.ctx, c, to)
		}
		if err != nil {
			return heard, fmt.Errorf("request %d: %w", i, err)
		}
		m := answer.FindStringSubmatch(said)
		if m == nil {
			return heard, fmt.Errorf("request %d: no host and caller in %q", i, said)
		}
		caller, err := netip.ParseAddr(m[2])
		if err != nil || len(own) > 0 && !own[caller.Unmap().String()] {
			return heard, fmt.Errorf("request %d: the task saw %s as its caller", i, m[2])
		}
		heard[m[1]]++
	}
	return heard, nil
}
