package agent

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/ca"
	"shoal/internal/cluster"
	"shoal/internal/rpc"
)

// Secrets is what tasks need of secrets and configs, in full.
type Secrets = cluster.Secrets

// Executor runs tasks. Every call is idempotent and its errors carry a class; one of class not found says that there is
// no container of that task, which Stop and Remove need not say. Bodies: engine and sim.
type Executor interface {
	// Describe says what the node is; TLSInfo is the agent's to fill in.
	Describe(ctx context.Context) (swarm.NodeDescription, error)
	// List is the task containers of this node, after a restart of the daemon too.
	List(ctx context.Context) ([]cluster.Running, error)
	// Prepare pulls, attaches and creates. A failure is REJECTED.
	Prepare(ctx context.Context, a cluster.Assignment, secrets Secrets) error
	// Start returns when the container runs, and is healthy if it has a health check.
	Start(ctx context.Context, taskID string) (swarm.TaskStatus, error)
	// Wait ends when the container has ended or become unhealthy.
	Wait(ctx context.Context, taskID string) (cluster.Exit, error)
	// Stop sends the stop signal, waits the grace period and kills.
	Stop(ctx context.Context, taskID string) error
	// Remove removes the container and what was made for it.
	Remove(ctx context.Context, taskID string) error
}

// Network is the node's data plane.
type Network interface {
	// Set returns when kernel and DNS hold the state.
	Set(ctx context.Context, state cluster.NetworkState) error
}

// Manager is a connection to one manager, as far as a session needs it. Bodies: *rpc.Client and sim.
type Manager interface {
	// Leader asks who leads.
	Leader(ctx context.Context) (*rpc.LeaderReply, error)
	// Session opens the node's session, which ends with ctx or with Close.
	Session(ctx context.Context) (rpc.AgentStream, error)
	Close() error
}

// Keyholder is a data plane that makes keys for encrypted networks; a [Network] that is none makes none.
type Keyholder interface {
	// Keys are the public ones, by network and generation.
	Keys() []cluster.OwnKey
	// KeysMoved returns a channel that is closed when Keys changes: ask for it first.
	KeysMoved() <-chan struct{}
}

// Config says what an agent works with. Identity, Executor and Network must be set.
type Config struct {
	// Dir is the agent's own, data-root/agent; empty: nothing is remembered over a restart.
	Dir      string
	Identity *ca.Identity
	// Save keeps a renewed bundle on disk, before it is put in use. nil: it is not kept.
	Save     func(ca.Bundle) error
	Executor Executor
	Network  Network
	// Managers are where to look first, host:port; more are learnt and remembered.
	Managers []string
	// Dial connects to a manager; nil: rpc.Dial with Identity. Only a connection of rpc's own serves calls of the node's
	// own (Leader) and answers, only an [rpc.Issuer] renewals.
	Dial func(ctx context.Context, addr string) (Manager, error)
	// Rand is a number of chance below n, for jitter and the order of managers; nil: math/rand/v2's.
	Rand func(n int64) int64
	// Call answers a manager's call over the stream that the agent opened back, and returns when it is over; it is
	// relay.Serve with the node's API handler. nil: calls are not answered.
	Call func(net.Conn)
	// Node hears of changes of the node's own object (role, availability, labels). It must not block.
	Node func(*cluster.Node)
	// Parallel is how many tasks are prepared at once; 8 when 0.
	Parallel int
	Log      *slog.Logger
}

// State is what the agent knows of its place in the cluster.
type State struct {
	Connected bool // it has a session with the leader
	Managers  []swarm.Peer
	Node      *cluster.Node // nil until the first session ever
}

// Agent is the node's side of its session. Run is called once.
type Agent struct {
	config  Config
	log     *slog.Logger
	reports *reports
	tasks   *tasks
	network *dataPlane

	trusting sync.Mutex // held while the identity changes

	mu      sync.Mutex
	state   State
	period  time.Duration // of heartbeats
	client  Manager       // to the leader; nil: no session
	changed chan struct{} // closed when state changes
	renew   chan struct{} // holds one token: look at the certificate
}

// New returns an agent that knows what it knew before: managers and assignments.
func New(config Config) *Agent {
	if config.Parallel == 0 {
		config.Parallel = 8
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	if config.Dial == nil {
		config.Dial = func(ctx context.Context, addr string) (Manager, error) { return rpc.Dial(ctx, config.Identity, addr) }
	}
	if config.Rand == nil {
		config.Rand = rand.Int64N
	}
	a := &Agent{config: config, log: config.Log, period: defaultPeriod, changed: make(chan struct{}), renew: make(chan struct{}, 1)}
	a.reports = newReports()
	a.network = newDataPlane(config.Network, config.Log)
	a.tasks = newTasks(a)
	m, err := readMemory(config.Dir)
	if err != nil {
		a.log.Warn("what the agent remembers cannot be read; the manager will tell", "err", err)
		m = memory{}
	}
	a.state = State{Managers: m.Managers, Node: m.Node}
	if m.Period > 0 {
		a.period = m.Period
	}
	a.tasks.remembered(m.Tasks)
	return a
}

// Run adopts the containers that are there and holds a session until ctx ends. Containers run on after it; work on them
// that is under way is cut short, and resumed by the next Run of a new agent.
func (a *Agent) Run(ctx context.Context) error {
	running, err := a.config.Executor.List(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	a.tasks.begin(ctx, running)
	wg.Go(func() { a.network.run(ctx) })
	wg.Go(func() { a.renewals(ctx) })
	wg.Go(func() { a.remember(ctx) })
	a.sessions(ctx)
	cancel()
	a.tasks.wait()
	return nil
}

// sessions opens one session after the other until ctx ends.
func (a *Agent) sessions(ctx context.Context) {
	delay := firstDelay
	var last *link
	defer func() {
		if last != nil {
			last.Close()
		}
	}()
	for ctx.Err() == nil {
		began := time.Now()
		var err error
		last, err = a.connect(ctx, last, max(dialTime, 2*delay))
		if ctx.Err() != nil {
			return
		}
		a.log.Info("no session with a leader", "err", err)
		if time.Since(began) > steadyTime {
			delay = firstDelay
		}
		timer := time.NewTimer(time.Duration(a.config.Rand(int64(delay))))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		delay = min(2*delay, lastDelay)
	}
}

// Delays between sessions: a random time below a bound that doubles, so that many nodes do not come back at once.
const (
	firstDelay = 200 * time.Millisecond
	lastDelay  = 4 * time.Second
	steadyTime = 10 * time.Second // a session of this length was a good one
)

// defaultPeriod is the heartbeat period until a manager says another.
const defaultPeriod = 5 * time.Second

// State returns what the agent knows now.
func (a *Agent) State() State {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.state
}

// Changed returns a channel that is closed when State changes: ask for it first.
func (a *Agent) Changed() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.changed
}

// Clear stops and removes every task of the node, for one that leaves the swarm. Call it after Run has ended.
func (a *Agent) Clear(ctx context.Context) error {
	return a.tasks.clear(ctx)
}

// Forget removes what the agent remembers on disk, for a node that has left the swarm.
func (a *Agent) Forget() error { return removeMemory(a.config.Dir) }

func (a *Agent) update(f func(*State)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f(&a.state)
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *Agent) heartbeatPeriod() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.period
}

// Leader returns the connection of the session with the leader, for calls of the node's own; nil without a session. It
// ends with the session.
func (a *Agent) Leader() *rpc.Client {
	a.mu.Lock()
	defer a.mu.Unlock()
	client, _ := a.client.(*rpc.Client)
	return client
}

// issuer returns the connection to the leader, nil without a session, or with one that gives no certificates.
func (a *Agent) issuer() rpc.Issuer {
	a.mu.Lock()
	defer a.mu.Unlock()
	issuer, _ := a.client.(rpc.Issuer)
	return issuer
}
