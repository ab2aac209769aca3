package raftstore

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"github.com/hashicorp/raft"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// Config is what a node needs. Dir, ID, Store and Transport must be set; everything else may be zero.
type Config struct {
	Dir       string // made if it is missing; only one process may use it
	ID        string // the node's ID, which is its Raft server ID
	Store     *store.Store
	Transport raft.Transport // closed with the node
	// Bootstrap makes this node the only voter of a new cluster. It is ignored when Dir holds a state already.
	Bootstrap bool
	Seal      *Sealer // nil: log and snapshots lie in the clear
	Log       *slog.Logger

	// SnapshotInterval is how many log entries are written between two snapshots; 0: 10,000.
	SnapshotInterval uint64
	// SnapshotBytes is how many bytes the log may grow by between two snapshots, where the newest one holds less; 0: 256 MiB.
	SnapshotBytes int64
	// Trailing is how many entries are kept after a snapshot for followers that are a little behind; 0: 500.
	Trailing uint64
	// ElectionTimeout is how long a silent leader is waited for; 0: 500 ms. More for slow links: every other time of
	// Raft follows it.
	ElectionTimeout time.Duration
	// SegmentSize is how many bytes a log file holds, which are reserved on disk when it is made; 0: 16 MiB.
	SegmentSize int
}

const (
	defaultSnapshotInterval = 10_000
	defaultSnapshotBytes    = 256 << 20
	defaultTrailing         = 500
	defaultElectionTimeout  = 500 * time.Millisecond
	defaultSegmentSize      = 16 << 20
	// maxAppendEntries bounds what one message to a follower carries. The store's entries hold up to a megabyte each.
	maxAppendEntries = 16
	snapshotsKept    = 2
	snapshotCheck    = 10 * time.Second
)

func (c *Config) withDefaults() (Config, error) {
	d := *c
	if d.Dir == "" || d.ID == "" || d.Store == nil || d.Transport == nil {
		return d, errors.New("raftstore: Dir, ID, Store and Transport must be set")
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.SnapshotInterval == 0 {
		d.SnapshotInterval = defaultSnapshotInterval
	}
	if d.SnapshotBytes == 0 {
		d.SnapshotBytes = defaultSnapshotBytes
	}
	if d.Trailing == 0 {
		d.Trailing = defaultTrailing
	}
	if d.ElectionTimeout == 0 {
		d.ElectionTimeout = defaultElectionTimeout
	}
	if d.SegmentSize == 0 {
		d.SegmentSize = defaultSegmentSize
	}
	return d, nil
}

// raft returns the library's form of the options.
func (c *Config) raft() *raft.Config {
	r := raft.DefaultConfig()
	r.LocalID = raft.ServerID(c.ID)
	r.HeartbeatTimeout = c.ElectionTimeout
	r.ElectionTimeout = c.ElectionTimeout
	r.LeaderLeaseTimeout = c.ElectionTimeout // no read goes by it (Confirm): as long as Raft allows, for busy machines
	r.CommitTimeout = c.ElectionTimeout      // followers serve no reads, so they may hear late of what is committed
	r.BatchApplyCh = true
	r.MaxAppendEntries = maxAppendEntries
	r.SnapshotInterval = snapshotCheck
	r.SnapshotThreshold = c.SnapshotInterval
	r.TrailingLogs = c.Trailing
	r.ShutdownOnRemove = false // who is removed decides himself what to do
	r.NoLegacyTelemetry = true
	r.Logger = newLogger(c.Log)
	return r
}

// Node is a running member of the cluster's Raft group. It implements [store.Proposer].
type Node struct {
	config    Config
	raft      *raft.Raft
	disk      *disk
	leader    *leaderCh
	health    *health
	confirmer confirmer
	asked     asked
	settled   atomic.Uint64 // the term of the lead before which everything is applied here
	observer  *raft.Observer
	change    sync.Mutex // one membership change at a time
	settings  sync.Mutex // of Raft, while they are changed
	closeOnce sync.Once
	closeErr  error
}

// Open starts the node on what Dir holds, or on nothing: it then waits to be added by a leader, unless
// config.Bootstrap is set. The store is at its last snapshot when Open returns, and follows from there.
//
// The error is of class PermissionDenied when Dir is sealed with another key than config.Seal.
func Open(config Config) (*Node, error) {
	c, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	d, err := openDisk(c)
	if err != nil {
		return nil, fmt.Errorf("open raft state: %w", err)
	}
	n := &Node{config: c, disk: d, leader: newLeaderCh(), health: newHealth()}
	rc := c.raft()
	rc.NotifyCh = n.leader.notify
	if c.Bootstrap {
		if err := bootstrap(rc, d, c); err != nil {
			return nil, errors.Join(fmt.Errorf("bootstrap raft: %w", err), d.close())
		}
	}
	f := &fsm{store: c.Store, log: c.Log, failed: n.fail}
	if n.raft, err = raft.NewRaft(rc, f, heldLog{d.log, &d.holds, d.growth}, d.log, d.snaps, c.Transport); err != nil {
		return nil, errors.Join(fmt.Errorf("start raft: %w", err), d.close())
	}
	n.observer = n.health.observe(n.raft)
	n.confirmer.ask = n.confirm
	go n.leader.run(n.barrier, n.pace, n.beat, beatEvery(c.ElectionTimeout))
	go n.snapshots(n.leader.done)
	if t, ok := c.Transport.(*transport); ok {
		go n.succeed(t)
	}
	return n, nil
}

func bootstrap(rc *raft.Config, d *disk, c Config) error {
	has, err := raft.HasExistingState(d.log, d.log, d.snaps)
	if err != nil || has {
		return err
	}
	return raft.BootstrapCluster(rc, d.log, d.log, d.snaps, c.Transport, only(c))
}

// only is the configuration with this node as the only voter.
func only(c Config) raft.Configuration {
	return raft.Configuration{Servers: []raft.Server{{
		Suffrage: raft.Voter, ID: raft.ServerID(c.ID), Address: c.Transport.LocalAddr(),
	}}}
}

// fail ends the node's part in Raft: it cannot understand the log, so it must neither lead nor vote on.
func (n *Node) fail(err error) {
	n.config.Log.Error("cannot apply the log; this manager stops taking part", "error", err)
	go func() { _ = n.Close() }()
}

// Leader is the leader's ID; empty when none is known.
func (n *Node) Leader() string {
	_, id := n.raft.LeaderWithID()
	return string(id)
}

// IsLeader says whether this node leads, as far as it knows. It may have been overthrown an instant ago; see Confirm.
func (n *Node) IsLeader() bool { return n.raft.State() == raft.Leader }

// LeaderCh tells true when this node has gained the lead and applied all that was committed before, and false as soon
// as it has lost it. The two alternate, beginning with true; a gain that is lost before it could be told is left out.
// The channel is closed when the node is.
func (n *Node) LeaderCh() <-chan bool { return n.leader.out }

// Applied is Raft's index of the newest entry that was applied here. A joining node has caught up when its Applied has
// reached the leader's Committed.
func (n *Node) Applied() uint64 { return n.raft.AppliedIndex() }

// Committed is Raft's index of the newest entry that this node knows to be committed.
func (n *Node) Committed() uint64 { return n.raft.CommitIndex() }

// Progress grows whenever this node gets on, be it by an entry or by a piece of a snapshot.
func (n *Node) Progress() uint64 { return n.raft.AppliedIndex() + n.disk.wrote.Load() }

// SetSnapshots changes at run time what Config.SnapshotInterval and Config.Trailing have set; 0: the default.
func (n *Node) SetSnapshots(interval, trailing uint64) error {
	c := Config{SnapshotInterval: interval, Trailing: trailing}
	if c.SnapshotInterval == 0 {
		c.SnapshotInterval = defaultSnapshotInterval
	}
	if c.Trailing == 0 {
		c.Trailing = defaultTrailing
	}
	return n.configure(func(r *raft.ReloadableConfig) {
		r.SnapshotThreshold, r.TrailingLogs = c.SnapshotInterval, c.Trailing
	})
}

// Snapshot writes a snapshot now and shortens the log. Nothing new since the last one is no error.
func (n *Node) Snapshot() error {
	err := n.raft.Snapshot().Error()
	if errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return nil
	}
	return err
}

// Close ends the node's part in Raft and closes its files; the transport too. What was acknowledged is on disk. It does
// not hand the lead over: see [Node.Transfer].
func (n *Node) Close() error {
	n.closeOnce.Do(func() {
		n.raft.DeregisterObserver(n.observer)
		n.health.stop()
		err := n.raft.Shutdown().Error()
		n.leader.stop()
		n.closeErr = errors.Join(err, n.disk.close())
	})
	return n.closeErr
}

// At is a transport that knows its own address and reaches nobody: what [Recover] needs when the port is closed.
func At(address string) raft.Transport {
	_, t := raft.NewInmemTransport(raft.ServerAddress(address))
	return t
}

// Recover rewrites the state in config.Dir, while nobody has it open, so that this node is the only voter: what it has
// in its log counts as committed. It is for a cluster that has lost its majority for good. The other managers must never
// come back with their old state. The store's index jumps far ahead, since others may have written entries that this
// node has not seen.
func Recover(config Config) error {
	config.Store = store.New() // replayed into, and thrown away
	c, err := config.withDefaults()
	if err != nil {
		return err
	}
	d, err := openDisk(c)
	if err != nil {
		return fmt.Errorf("open raft state: %w", err)
	}
	has, err := raft.HasExistingState(d.log, d.log, d.snaps)
	if err == nil && !has {
		err = cluster.Errorf(errdefs.ErrFailedPrecondition, "there is no raft state in %s to recover", c.Dir)
	}
	if err == nil {
		f := &fsm{store: c.Store, log: c.Log, failed: func(error) {}, ahead: leap}
		err = raft.RecoverCluster(c.raft(), f, d.log, d.log, d.snaps, c.Transport, only(c))
		err = errors.Join(err, f.err)
	}
	return errors.Join(err, d.close())
}
