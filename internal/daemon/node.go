package daemon

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/agent"
	"shoal/internal/ca"
	"shoal/internal/raftstore"
	"shoal/internal/relay"
	"shoal/internal/rpc"
	"shoal/internal/store"
)

// node is this machine's life in a swarm: in none, locked, a worker or a manager. Its verbs (swarmverbs.go) are what the
// API calls; its parts are the agent, always, and the manager's parts, while the certificate says manager.
type node struct {
	cfg      Config
	log      *slog.Logger
	executor agent.Executor
	network  dataPlane
	places   *places      // set before start
	api      http.Handler // set before start
	emit     func(events.Message)
	files    ca.Files

	verbs sync.Mutex // held by a verb and by a change of role, which may take long

	mu       sync.RWMutex // guards what follows
	state    swarm.LocalNodeState
	trouble  error // why the state is error
	member   *membership
	identity *ca.Identity
	agent    *agent.Agent
	managing *managing
	unlock   []byte // the key that the files are sealed with; nil: none
	stop     func() // ends the agent and the watch on the role
}

// dataPlane is what the node's membership needs of the network.
type dataPlane interface {
	agent.Network
	Identify(nodeID string)
}

// catchUp is how long a manager that comes up may get no further on its way to a vote. There is no bound on the whole: the
// swarm's state may be large, and the link slow.
const catchUp = 2 * time.Minute

func newNode(cfg Config, executor agent.Executor, network dataPlane, emit func(events.Message), log *slog.Logger) *node {
	return &node{
		cfg: cfg, log: log, executor: executor, network: network, emit: emit, state: swarm.LocalNodeStateInactive,
		files: certificates(cfg.DataRoot),
	}
}

// start takes the node back into the swarm that it was in. A node that is locked waits for its key.
func (n *node) start() error {
	n.verbs.Lock()
	defer n.verbs.Unlock()
	if err := removeUnpacked(n.cfg.DataRoot); err != nil {
		return err
	}
	ms, err := loadMembership(n.cfg.DataRoot)
	if err != nil || ms == nil {
		return err
	}
	if err := n.relocate(ms); err != nil {
		n.log.Error("the node keeps the address that it had", "error", err)
	}
	if err := n.resume(ms, nil); err != nil {
		return err
	}
	if n.localState() == swarm.LocalNodeStateActive {
		n.startAgent()
	}
	return nil
}

// resume brings the parts of a member up. The caller holds verbs.
func (n *node) resume(ms *membership, key []byte) error {
	bundle, err := n.files.Load(key)
	if errors.Is(err, ca.ErrLocked) {
		n.become(swarm.LocalNodeStateLocked, ms, nil)
		return nil
	}
	if err == nil {
		err = n.activate(ms, bundle, key, false)
	}
	if err == nil {
		if err = n.settle(context.Background()); err != nil {
			err = errors.Join(err, n.halt())
		}
	}
	if err != nil {
		n.become(swarm.LocalNodeStateError, ms, err)
	}
	return err
}

func (n *node) become(state swarm.LocalNodeState, ms *membership, trouble error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.state, n.member, n.trouble = state, ms, trouble
}

// activate starts the parts that the certificate asks for. After an error none of them runs.
func (n *node) activate(ms *membership, bundle ca.Bundle, key []byte, bootstrap bool) error {
	identity, err := ca.NewIdentity(bundle)
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.identity, n.unlock, n.member = identity, key, ms
	n.mu.Unlock()
	n.network.Identify(ms.NodeID)
	var m *managing
	if identity.Subject().Role == swarm.NodeRoleManager {
		if m, err = n.openManager(ms, bootstrap); err != nil {
			return err
		}
	}
	n.mu.Lock()
	n.managing, n.state, n.trouble = m, swarm.LocalNodeStateActive, nil
	n.mu.Unlock()
	return nil
}

// startAgent begins to run tasks. It is apart from activate, since a new swarm has to have its first objects before.
func (n *node) startAgent() {
	n.mu.Lock()
	defer n.mu.Unlock()
	ms := n.member
	managers := make([]string, 0, len(ms.Managers)+1)
	if n.managing != nil {
		managers = append(managers, ms.Advertise.String())
	}
	for _, p := range ms.Managers {
		managers = append(managers, p.Addr)
	}
	n.agent = agent.New(agent.Config{
		Dir: filepath.Join(swarmDir(n.cfg.DataRoot), "agent"), Identity: n.identity, Save: n.saveBundle,
		Executor: n.executor, Network: n.network, Managers: managers, Log: n.log,
		Call: func(conn net.Conn) { relay.Serve(conn, n.api) },
	})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	a, identity := n.agent, n.identity
	wg.Go(func() {
		if err := a.Run(ctx); err != nil && ctx.Err() == nil {
			n.log.Error("agent ended", "error", err)
		}
	})
	wg.Go(func() { n.followRole(ctx, identity) })
	wg.Go(func() { n.places.run(ctx) })
	wg.Go(func() { n.announce(ctx) })
	n.stop = func() { cancel(); wg.Wait() }
}

// leaderSession returns the agent's connection to the leader, nil while it has none, and a channel that is closed when
// that may have changed. errOutside: the node is in no swarm.
func (n *node) leaderSession() (*rpc.Client, <-chan struct{}, error) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.agent == nil {
		return nil, nil, errOutside
	}
	changed := n.agent.Changed()
	return n.agent.Leader(), changed, nil
}

// saveBundle keeps a renewed certificate, sealed as the node's files are.
func (n *node) saveBundle(b ca.Bundle) error {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.files.Save(b, n.unlock)
}

// seal rewrites the node's files when autolock changed. key nil: unsealed.
func (n *node) seal(key []byte) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if subtle.ConstantTimeCompare(n.unlock, key) == 1 {
		return nil
	}
	if err := n.files.Save(n.identity.Bundle(), key); err != nil {
		return err
	}
	n.unlock = key
	return nil
}

// followRole starts and stops the manager's parts as the certificate comes to say manager or worker, and sees to it that a manager
// has its vote.
func (n *node) followRole(ctx context.Context, identity *ca.Identity) {
	look := time.NewTicker(voteLook)
	defer look.Stop()
	for {
		changed := identity.Changed()
		if err := n.fitRole(ctx, identity.Subject().Role); err != nil && ctx.Err() == nil {
			n.log.Error("cannot take the role that the certificate gives, will try again", "error", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(roleRetry):
				continue
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-look.C:
		}
	}
}

const (
	roleRetry = 2 * time.Second
	// voteLook is how often a manager looks whether it has its vote. It is longer than an election takes.
	voteLook = 5 * time.Second
)

func (n *node) fitRole(ctx context.Context, role swarm.NodeRole) error {
	if !n.verbs.TryLock() { // a verb is at work on the parts; leave waits for this loop to end
		return errBusy
	}
	defer n.verbs.Unlock()
	n.mu.RLock()
	m, ms := n.managing, n.member
	n.mu.RUnlock()
	switch {
	case role == swarm.NodeRoleManager && m == nil:
		return n.promote(ctx, ms)
	case role == swarm.NodeRoleManager && n.unheard(m):
		n.log.Info("this manager has no vote and asks for it")
		return n.joinGroup(ctx, m, ms, n.knownManagers())
	case role == swarm.NodeRoleWorker && m != nil:
		n.log.Info("this node is a worker now")
		n.mu.Lock()
		n.managing = nil
		n.mu.Unlock()
		return errors.Join(m.close(), removeRaft(n.cfg.DataRoot))
	case role == swarm.NodeRoleWorker: // it may have been killed before it removed what it had as a manager
		return removeRaft(n.cfg.DataRoot)
	}
	return nil
}

// unheard says whether this manager lacks its vote: it was killed before it had asked for it, or it was made a worker and a manager
// again while it was down. In its own log it may vote then, but the leader, whom its agent has found, sends it nothing.
func (n *node) unheard(m *managing) bool {
	i := slices.IndexFunc(m.raft.Servers(), func(s raftstore.Server) bool { return s.ID == m.id && s.Voter })
	if i >= 0 && m.raft.Leader() != "" {
		m.silent = 0
		return false
	}
	n.mu.RLock()
	a := n.agent
	n.mu.RUnlock()
	if a == nil || a.Leader() == nil {
		m.silent = 0
		return false // nobody to ask
	}
	m.silent++
	return i < 0 || m.silent > 1
}

var errBusy = errors.New("the node is joining or leaving")

// promote opens the manager's parts and gets them their vote.
func (n *node) promote(ctx context.Context, ms *membership) error {
	if err := n.needDataKey(); err != nil {
		return err
	}
	// What an earlier try has left on the disk stays: the answer that gave this node its vote may have been lost, and a voter that
	// forgets its log could vote twice.
	m, err := n.openManager(ms, false)
	if err != nil {
		return err
	}
	if err := n.joinGroup(ctx, m, ms, n.knownManagers()); err != nil {
		return errors.Join(err, m.close())
	}
	n.mu.Lock()
	n.managing = m
	n.mu.Unlock()
	n.log.Info("this node is a manager now")
	return nil
}

// needDataKey makes the key that seals this manager's Raft log, unless it has one.
func (n *node) needDataKey() error {
	b := n.identity.Bundle()
	if len(b.DataKey) == 32 {
		return nil
	}
	b.DataKey = newDataKey()
	if err := n.saveBundle(b); err != nil {
		return err
	}
	return n.identity.Set(b)
}

func newDataKey() []byte {
	key := make([]byte, 32)
	rand.Read(key)
	return key
}

// joinGroup makes this manager a member of the Raft group: without a vote until it has caught up, then with one.
func (n *node) joinGroup(ctx context.Context, m *managing, ms *membership, managers []string) error {
	ctx, cancel := whileProgress(ctx, catchUp, m.raft.Progress)
	defer cancel()
	return overElection(ctx, func() (err error) {
		for _, addr := range managers {
			if err = n.joinThrough(ctx, m, ms, addr); err == nil || ctx.Err() != nil {
				return err
			}
		}
		return err
	})
}

// overElection tries what may be repeated, and again while the managers elect a leader. The error is the last one.
func overElection(ctx context.Context, try func() error) error {
	for began := time.Now(); ; {
		err := try()
		if !errdefs.IsUnavailable(err) || time.Since(began) > electionTime {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(joinAgain):
		}
	}
}

const (
	// electionTime is how long a joining manager asks a group that has no leader.
	electionTime = 20 * time.Second
	joinAgain    = 250 * time.Millisecond
)

// whileProgress returns a context that ends when progress has stood still for that long.
func whileProgress(ctx context.Context, quiet time.Duration, progress func() uint64) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		const looks = 10
		again := time.NewTicker(quiet / looks)
		defer again.Stop()
		last, still := progress(), 0
		for {
			select {
			case <-ctx.Done():
				return
			case <-again.C:
			}
			now := progress()
			if still++; now != last {
				last, still = now, 0
			}
			if still >= looks {
				cancel(context.DeadlineExceeded)
				return
			}
		}
	}()
	return ctx, func() { cancel(context.Canceled) }
}

func (n *node) joinThrough(ctx context.Context, m *managing, ms *membership, addr string) error {
	client, err := rpc.Dial(ctx, n.identity, addr)
	if err != nil {
		return err
	}
	defer client.Close()
	reply, err := client.Join(ctx, &rpc.JoinRequest{Addr: ms.Advertise.String()})
	if err != nil {
		return err
	}
	if err := waitIndex(ctx, m.store, reply.Index); err != nil {
		return err
	}
	_, err = client.Join(ctx, &rpc.JoinRequest{Addr: ms.Advertise.String(), Voter: true})
	return err
}

// waitIndex returns when s has applied everything up to index.
func waitIndex(ctx context.Context, s *store.Store, index uint64) error {
	for s.Index() < index {
		for ev, err := range s.Watch(ctx, s.Index()) {
			if err != nil && !errors.Is(err, store.ErrBehind) {
				return err
			}
			if err != nil || ev.Index >= index {
				break
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// knownManagers are the addresses of the managers as the agent knows them, or as they were at joining.
func (n *node) knownManagers() []string {
	n.mu.RLock()
	defer n.mu.RUnlock()
	var peers []swarm.Peer
	if n.agent != nil {
		peers = n.agent.State().Managers
	}
	if len(peers) == 0 && n.member != nil {
		peers = n.member.Managers
	}
	out := make([]string, 0, len(peers))
	for _, p := range peers {
		out = append(out, p.Addr)
	}
	return out
}

// close ends the parts in good order; the containers run on.
func (n *node) close() error {
	n.verbs.Lock()
	defer n.verbs.Unlock()
	return n.halt()
}

// halt ends agent and manager. The caller holds verbs.
func (n *node) halt() error {
	n.mu.Lock()
	stop, m := n.stop, n.managing
	n.stop, n.managing, n.agent = nil, nil, nil
	n.mu.Unlock()
	if stop != nil {
		stop()
	}
	if m != nil {
		return m.close()
	}
	return nil
}
