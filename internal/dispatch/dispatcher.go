package dispatch

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"
	"golang.org/x/sync/errgroup"

	"shoal/internal/cluster"
	"shoal/internal/rpc"
	"shoal/internal/store"
)

// Config says what a dispatcher works with. Store must be set.
type Config struct {
	Store *store.Store
	// Reach says whether a machine lives, by its port (host:port): this manager's own try and other managers'. nil: its
	// own alone.
	Reach func(ctx context.Context, addr string) bool
	Now   func() time.Time // time.Now when nil
	Log   *slog.Logger
}

// Dispatcher holds the nodes' sessions while this manager leads. It lives as long as the manager; Run is one term.
type Dispatcher struct {
	config Config

	mu      sync.Mutex
	term    *term // nil: not leading
	applied uint64
	moved   chan struct{}
}

// New returns a dispatcher, which refuses sessions until Run.
func New(config Config) *Dispatcher {
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Reach == nil {
		config.Reach = rpc.Alive
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	return &Dispatcher{config: config, moved: make(chan struct{})}
}

var errNotLeading = cluster.Errorf(errdefs.ErrUnavailable, "this manager does not lead the swarm")

// Run takes sessions until ctx ends, with which all of them end too; call it while this node leads. It begins with every
// node UNKNOWN until it is heard of. The error is why it could not go on: that of a write to the store, mostly, since
// the lead was lost.
func (d *Dispatcher) Run(ctx context.Context) error {
	if err := d.unknown(ctx); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	t := newTerm(ctx, d)
	d.mu.Lock()
	d.term, d.applied = t, 0
	d.mu.Unlock()
	g.Go(func() error { return t.watch(ctx) })
	g.Go(func() error { return t.beats(ctx) })
	g.Go(func() error { return t.reports.run(ctx) })
	err := g.Wait()
	d.mu.Lock()
	d.term = nil
	d.mu.Unlock()
	t.end()
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// unknown marks every node that was READY, since its last leader may have been the one that heard of it.
func (d *Dispatcher) unknown(ctx context.Context) error {
	_, err := d.config.Store.Update(ctx, func(tx *store.Tx) error {
		for n := range store.Nodes.All(tx) {
			if n.Status.State != swarm.NodeStateReady {
				continue
			}
			next := *n
			next.Status.State, next.Status.Message = swarm.NodeStateUnknown, "Node moved to \"unknown\" state due to leadership change in cluster"
			store.Nodes.Put(tx, &next)
		}
		return nil
	})
	return err
}

// Applied is the lowest index that all READY nodes have applied: whatever changed up to it is in every data plane that
// it concerns. 0 when this manager does not lead.
func (d *Dispatcher) Applied() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.applied
}

// AppliedMoved returns a channel that is closed when Applied changes: ask for it first, then for Applied.
func (d *Dispatcher) AppliedMoved() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.moved
}

func (d *Dispatcher) setApplied(t *term, index uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.term != t || d.applied == index {
		return
	}
	d.applied = index
	close(d.moved)
	d.moved = make(chan struct{})
}

func (d *Dispatcher) leading() *term {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.term
}

// Session takes a node's session and returns when it is over.
func (d *Dispatcher) Session(caller rpc.Caller, stream rpc.SessionStream) error {
	t := d.leading()
	if t == nil {
		return errNotLeading
	}
	return t.session(caller, stream)
}

// Ask asks a node to open a stream back for a call. Unavailable: it has no session here.
func (d *Dispatcher) Ask(nodeID, call string) error {
	if t := d.leading(); t != nil {
		if s := t.sessionOf(nodeID); s != nil {
			s.ask(call)
			return nil
		}
	}
	return cluster.Errorf(errdefs.ErrUnavailable, "node %s is not available", nodeID)
}

// Connected is how many nodes have a session here.
func (d *Dispatcher) Connected() int {
	t := d.leading()
	if t == nil {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	count := 0
	for _, m := range t.members {
		if m.session != nil {
			count++
		}
	}
	return count
}

// machineAddr is where a node's machine is tried: the port that every manager listens on, and that a worker's kernel
// refuses.
func machineAddr(n *cluster.Node) string {
	if n.ManagerStatus != nil && n.ManagerStatus.Addr != "" {
		return n.ManagerStatus.Addr
	}
	if n.Status.Addr == "" {
		return ""
	}
	return net.JoinHostPort(n.Status.Addr, "2377")
}
