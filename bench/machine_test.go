package bench

import (
	"context"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cli/playground"
)

var (
	binary    = flag.String("shoal", "../bin/shoal", "the binary to measure; containerd, the shim, runc and shoal-sample lie beside it")
	reference = flag.String("reference", "/var/cache/shoal-bench/docker.io", "where Debian's docker.io is unpacked; it is fetched when it is not there")
	dir       = flag.String("dir", "/tmp", "a folder with a short path: the machines' disks lie in it")
	alone     = flag.Bool("alone", false, "measure Shoal only")
)

// subject is a daemon to be measured.
type subject struct {
	name  string
	start func(context.Context, *playground.Playground, *playground.Machine) error
}

var shoal = subject{"shoal", func(ctx context.Context, _ *playground.Playground, m *playground.Machine) error {
	return m.StartDaemon(ctx)
}}

func subjects(tb testing.TB) []subject {
	if *alone {
		return []subject{shoal}
	}
	return []subject{docker(tb), shoal}
}

// node is one machine with a running daemon, and a registry with the sample image in its reach.
type node struct {
	*playground.Machine
	playground *playground.Playground
	api        engineAPI
	registry   string
	end        func()
}

// boot makes a machine with a network namespace, a /run and a disk of its own, and starts the daemon in it. Remove it with end.
func boot(tb testing.TB, ctx context.Context, s subject) *node {
	tb.Helper()
	return bootAll(tb, ctx, s, 1)[0]
}

// bootAll makes machines that reach each other. The end of any of them removes all.
func bootAll(tb testing.TB, ctx context.Context, s subject, machines int) []*node {
	tb.Helper()
	return bootServing(tb, ctx, s, machines, func(ctx context.Context, p *playground.Playground) error { return p.StartRegistry(ctx) })
}

// bootServing is bootAll with a registry of the caller's.
func bootServing(tb testing.TB, ctx context.Context, s subject, machines int, registry func(context.Context, *playground.Playground) error) []*node {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Fatal("must be root: daemons run containers")
	}
	shoalBinary, err := filepath.Abs(*binary)
	must(tb, err)
	if _, err := os.Stat(shoalBinary); err != nil {
		tb.Fatalf("%v (make build makes it)", err)
	}
	disks, err := os.MkdirTemp(*dir, "bench-") // short: sockets lie in it
	must(tb, err)
	p, err := playground.New(playground.Config{Dir: filepath.Join(disks, "p"), Shoal: shoalBinary, Tied: true})
	must(tb, err)
	end := sync.OnceFunc(func() {
		if err := p.Remove(); err != nil {
			tb.Error(err)
		}
		os.RemoveAll(disks)
	})
	tb.Cleanup(end) // after a Fatal
	must(tb, registry(ctx, p))
	nodes := make([]*node, machines)
	for i := range nodes {
		n := &node{playground: p, registry: p.Registry(), end: end}
		n.Machine, err = p.Machine(i + 1)
		must(tb, err)
		must(tb, n.Boot())
		must(tb, n.favour())
		n.api = dialEngine(n.Socket())
		must(tb, s.start(ctx, p, n.Machine))
		nodes[i] = n
	}
	return nodes
}

// swarm makes the node a swarm of one and pulls the sample image. It returns the image's pinned reference.
func (n *node) swarm(tb testing.TB, ctx context.Context) string {
	tb.Helper()
	n.begin(tb, ctx)
	image, err := n.api.pull(ctx, n.registry+"/web", "v1")
	must(tb, err)
	return image
}

// begin makes the node a swarm of one.
func (n *node) begin(tb testing.TB, ctx context.Context) {
	tb.Helper()
	must(tb, n.api.call(ctx, http.MethodPost, "/swarm/init", swarm.InitRequest{ListenAddr: "0.0.0.0:2377", AdvertiseAddr: n.Address.String()}, nil))
	limit, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	must(tb, await(limit, "the node is not ready", func() bool {
		var nodes []swarm.Node
		err := n.api.call(limit, http.MethodGet, "/nodes", nil, &nodes)
		return err == nil && len(nodes) == 1 && nodes[0].Status.State == swarm.NodeStateReady
	}))
}
