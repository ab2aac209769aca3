package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/controlplane"
	"shoal/internal/dispatch"
	"shoal/internal/manager"
	"shoal/internal/raftstore"
	"shoal/internal/relay"
	"shoal/internal/rpc"
	"shoal/internal/store"
)

// managing is the parts that a node has while it is a manager.
type managing struct {
	id       string // the node's
	log      *slog.Logger
	store    *store.Store
	raft     *raftstore.Node
	server   *rpc.Server
	dispatch *dispatch.Dispatcher
	relay    *relay.Relay
	control  *controlplane.Control
	where    whereabouts  // of managers that have moved
	forward  http.Handler // passes API requests on to the leader
	wg       sync.WaitGroup
	cancel   context.CancelFunc
	leading  atomic.Bool   // and all that earlier leaders committed is applied here
	led      chan struct{} // closed when this node leads for the first time
	once     sync.Once
	silent   int // looks in a row at which no leader was heard of; followRole's alone
}

// openManager starts a manager's parts on what the disk holds. bootstrap makes it the only voter of a new swarm.
func (n *node) openManager(ms *membership, bootstrap bool) (*managing, error) {
	bundle := n.identity.Bundle()
	if len(bundle.DataKey) != 32 {
		return nil, errors.New("the node has no key for its Raft log")
	}
	m := &managing{id: ms.NodeID, log: n.log, store: store.New(), led: make(chan struct{})}
	m.dispatch = dispatch.New(dispatch.Config{
		Store: m.store, Log: n.log, Reach: func(ctx context.Context, addr string) bool { return m.server.Reach(ctx, addr) },
	})
	m.relay = relay.New(m.dispatch)
	m.forward = rpc.APIProxy(n.identity, m.leaderNow, proxyFailed)
	m.control = &controlplane.Control{Store: m.store, Members: m.memberStatus, MayDemote: m.mayLose, Log: n.log}
	var group raftGroup
	m.server = rpc.NewServer(rpc.Config{
		Identity: n.identity, Store: m.store, Group: group.get, Sessions: m.dispatch, Calls: m.relay, Networks: m.control,
		Moved: m.where.heard, API: n.api, Advertise: ms.Advertise.String(), Log: n.log,
	})
	listener, err := rpc.Listen(ms.ListenAddr)
	if err != nil {
		return nil, fmt.Errorf("cannot take connections from other nodes: %w", err)
	}
	m.raft, err = raftstore.Open(raftstore.Config{
		Dir: raftDir(n.cfg.DataRoot), ID: ms.NodeID, Store: m.store, Bootstrap: bootstrap,
		Transport: raftstore.NewTransport(m.server.Raft(), m.raftAddr, n.log),
		Seal:      raftstore.NewSealer([32]byte(bundle.DataKey)), Log: n.log,
	})
	if err != nil {
		return nil, errors.Join(err, listener.Close(), m.server.Close())
	}
	group.set(m.raft)
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	m.wg.Go(func() {
		if err := m.server.Serve(listener); err != nil {
			n.log.Error("port for other nodes has closed", "error", err)
		}
	})
	m.wg.Go(func() { m.leadWhenAsked(ctx) })
	m.wg.Go(func() { onCluster(ctx, m.store, n.asAsked(m)) })
	m.wg.Go(func() { tellEvents(ctx, m.store, n.emit) })
	return m, nil
}

// raftGroup hands the Raft node to a server that had to exist before it.
type raftGroup struct {
	mu   sync.Mutex
	node *raftstore.Node
}

func (g *raftGroup) set(n *raftstore.Node) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.node = n
}

func (g *raftGroup) get() rpc.Group {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.node == nil {
		return nil // and not an interface that holds a nil pointer
	}
	return g.node
}

// raftAddr finds a manager's present address, so that one may come back with another.
func (m *managing) raftAddr(id string) (string, bool) {
	return m.where.of(id, m.store.View())
}

// leadWhenAsked runs the leader's loops whenever this node leads.
func (m *managing) leadWhenAsked(ctx context.Context) {
	var stop func()
	for leads := range m.raft.LeaderCh() {
		if stop != nil {
			stop()
			stop = nil
		}
		if leads {
			stop = m.lead(ctx)
		}
	}
	if stop != nil {
		stop()
	}
}

// lead starts the leader's loops and returns how to stop them and wait for them.
func (m *managing) lead(ctx context.Context) (stop func()) {
	m.log.Info("this node leads the swarm")
	ctx, cancel := context.WithCancel(ctx)
	m.store.Lead(m.raft)
	m.leading.Store(true)
	m.once.Do(func() { close(m.led) })
	var wg sync.WaitGroup
	loop := func(name string, run func(context.Context) error) {
		wg.Go(func() { m.keep(ctx, name, run) })
	}
	loop("dispatch", m.dispatch.Run)
	loop("passes", func(ctx context.Context) error {
		return manager.Lead(ctx, manager.Config{Store: m.store, Applied: m.dispatch.Applied, Moved: m.dispatch.AppliedMoved, Log: m.log})
	})
	loop("members", func(ctx context.Context) error {
		return manager.Members(ctx, manager.MembersConfig{Store: m.store, Group: m.raft, Self: m.id, Log: m.log})
	})
	loop("keys", func(ctx context.Context) error {
		return manager.Keys(ctx, manager.KeysConfig{Store: m.store, Applied: m.dispatch.Applied, Moved: m.dispatch.AppliedMoved, Log: m.log})
	})
	return func() {
		m.log.Info("this node leads no more")
		m.leading.Store(false)
		m.store.Follow()
		cancel()
		wg.Wait()
	}
}

// loopAgain is how long a leader's loop that failed waits before it runs again.
const loopAgain = time.Second

// keep runs a loop until ctx ends. One that fails (the disk is full when it begins) runs again: nobody else would do its work.
func (m *managing) keep(ctx context.Context, name string, run func(context.Context) error) {
	for {
		err := run(ctx)
		if ctx.Err() != nil {
			return
		}
		m.log.Error("leader's loop ended and is run again", "loop", name, "error", err)
		t := time.NewTimer(loopAgain)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

// confirmTime bounds how long a request waits for a majority to say that this node leads: a disk that is very slow holds its
// answers up, and so does a majority that is lost until this node has noticed.
const confirmTime = 10 * time.Second

// speaks says whether this node may answer for the swarm: it leads, and no other node could when the request came. Without
// that a leader that was cut off, or that stood still for a while, would answer from a state that is not the newest.
func (m *managing) speaks() bool {
	// Until what was committed before is applied here, a read would miss acknowledged writes.
	if !m.leading.Load() {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), confirmTime)
	defer cancel()
	return m.raft.Confirm(ctx) == nil
}

// memberStatus is a manager's part in the consensus as the API shows it.
func (m *managing) memberStatus(nodeID string) *swarm.ManagerStatus {
	for _, s := range m.raft.Servers() {
		if s.ID == nodeID {
			reach := swarm.ReachabilityReachable
			if !s.Reachable {
				reach = swarm.ReachabilityUnreachable
			}
			return &swarm.ManagerStatus{Leader: s.Leader, Reachability: reach}
		}
	}
	return nil
}

// whenLeading runs a transaction as soon as this node leads.
func (m *managing) whenLeading(ctx context.Context, f func(*store.Tx) error) error {
	select {
	case <-m.led:
	case <-ctx.Done():
		return fmt.Errorf("the new swarm has no leader yet: %w", ctx.Err())
	}
	_, err := m.store.Update(ctx, f)
	return err
}

// leaveWarning is the refusal of a manager to leave without force, with what it would cost.
func (m *managing) leaveWarning() error {
	const base = "You are attempting to leave the swarm on a node that is participating as a manager. "
	voters, reachable := 0, 0
	for _, s := range m.raft.Servers() {
		if s.Voter {
			voters++
			if s.Reachable {
				reachable++
			}
		}
	}
	switch {
	case voters <= 1:
		return cluster.Errorf(errdefs.ErrUnavailable, "%s", base+"Removing the last manager erases all current state of the swarm. Use `--force` to ignore this message. ")
	case reachable-1 <= voters/2:
		return cluster.Errorf(errdefs.ErrUnavailable, "%sRemoving this node leaves %d managers out of %d. Without a Raft quorum your swarm will be inaccessible. "+
			"The only way to restore a swarm that has lost consensus is to reinitialize it with `--force-new-cluster`. Use `--force` to suppress this message. ", base, reachable-1, voters)
	}
	return cluster.Errorf(errdefs.ErrUnavailable, "%s", base+"The only way to restore a swarm that has lost consensus is to reinitialize it with `--force-new-cluster`. Use `--force` to suppress this message. ")
}

// removeRaft drops the Raft state of a node that is no manager any more.
func removeRaft(dataRoot string) error { return os.RemoveAll(raftDir(dataRoot)) }

func raftDir(dataRoot string) string { return filepath.Join(swarmDir(dataRoot), "raft") }

// mayLose says whether the managers keep their quorum without the node.
func (m *managing) mayLose(nodeID string) bool {
	return raftstore.Quorum(m.raft.Servers(), nodeID) == nil
}

// close hands the lead over, if there is anybody to take it, and ends the parts.
func (m *managing) close() error {
	if m.raft.IsLeader() && len(m.raft.Servers()) > 1 {
		if err := m.raft.Transfer(); err != nil {
			m.log.Warn("nobody took over the lead", "error", err)
		}
	}
	m.cancel()
	err := errors.Join(m.raft.Close(), m.server.Close())
	m.wg.Wait()
	return err
}

// asAsked keeps, on every manager, the node's secrets sealed as the swarm's autolock wants it, and the log as long as its spec says.
func (n *node) asAsked(m *managing) func(*cluster.Cluster) {
	return func(c *cluster.Cluster) {
		if err := n.seal(c.UnlockKey); err != nil {
			n.log.Error("cannot seal the node's keys as autolock wants", "error", err)
		}
		if err := m.raft.SetSnapshots(c.Spec.Raft.SnapshotInterval, c.Spec.Raft.LogEntriesForSlowFollowers); err != nil {
			n.log.Error("cannot write snapshots as often as the swarm wants", "error", err)
		}
	}
}

// onCluster calls f with the swarm's own object, and again when it has changed, until ctx ends.
func onCluster(ctx context.Context, s *store.Store, f func(*cluster.Cluster)) {
	for {
		v := s.View()
		if c := store.ClusterOf(v); c != nil {
			f(c)
		}
		for ev, err := range s.Watch(ctx, v.Index()) {
			if err != nil || touches(ev, store.Clusters.Name()) {
				break
			}
		}
		if ctx.Err() != nil {
			return
		}
	}
}

func touches(ev store.Event, table string) bool {
	for _, c := range ev.Changes {
		if c.Table == table {
			return true
		}
	}
	return false
}
