package daemon

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/backup"
	"shoal/internal/cluster"
	"shoal/internal/raftstore"
	"shoal/internal/rpc"
	"shoal/internal/store"
)

// freshTime bounds how long a backup waits for what the leader has acknowledged.
const freshTime = 10 * time.Second

var errNoLeader = cluster.Errorf(errdefs.ErrUnavailable, "The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the managers are online.") // Docker's sentence

// Backup takes the swarm's state on this manager: everything that was acknowledged before the call, or with stale what
// this manager has, for a swarm that has lost its leader. What it returns writes the file.
func (n *node) Backup(ctx context.Context, stale bool) (io.WriterTo, error) {
	if _, err := n.Control(); err != nil {
		return nil, err
	}
	n.mu.RLock()
	m, ms, identity := n.managing, *n.member, n.identity
	n.mu.RUnlock()
	if !stale {
		if err := n.fresh(ctx, m); err != nil {
			return nil, err
		}
	}
	e := m.raft.Export()
	c := store.ClusterOf(e.View())
	if c == nil {
		return nil, errNoLeader // a manager that is only just joining
	}
	// Sealed as the state wants it, which this manager's own files may be an instant behind of.
	bundle := identity.Bundle()
	text, err := bundle.Text(c.UnlockKey)
	if err != nil {
		return nil, err
	}
	file := &backupFile{state: e, header: backup.Header{
		Created: time.Now().UTC().Truncate(time.Second), Version: cluster.Version, ClusterID: c.ID, NodeID: ms.NodeID,
		Advertise: ms.Advertise.String(), Index: m.store.Index(), Locked: c.UnlockKey != nil, Certificate: text, Roots: bundle.Root,
	}}
	if file.header.Hostname, err = os.Hostname(); err != nil {
		return nil, err
	}
	if file.header.Raft, err = e.Describe(); err != nil {
		return nil, err
	}
	file.header.Membership, err = json.Marshal(ms)
	return file, err
}

type backupFile struct {
	header backup.Header
	state  raftstore.Export
}

// WriteTo writes the file; it does not count.
func (f *backupFile) WriteTo(w io.Writer) (int64, error) {
	return 0, backup.Write(w, f.header, f.state)
}

// fresh returns when everything is applied here that the leader had acknowledged at the call.
func (n *node) fresh(ctx context.Context, m *managing) error {
	ctx, cancel := context.WithTimeout(ctx, freshTime)
	defer cancel()
	if m.leading.Load() {
		return m.raft.Verify()
	}
	addr, ok := m.raftAddr(m.raft.Leader())
	if !ok {
		return errNoLeader
	}
	client, err := rpc.Dial(ctx, n.identity, addr)
	if err != nil {
		return cluster.Errorf(errdefs.ErrUnavailable, "the swarm's leader does not answer: %v", err)
	}
	defer client.Close()
	reply, err := client.Leader(ctx)
	if err != nil {
		return err
	}
	if reply.Addr != addr { // another one leads now
		return errNoLeader
	}
	if err := waitIndex(ctx, m.store, reply.Index); err != nil {
		return cluster.Errorf(errdefs.ErrUnavailable, "this manager is behind the leader and does not catch up: %v", err)
	}
	return nil
}

// inactive refuses a node that is in a swarm already.
func (n *node) inactive() error {
	if n.localState() != swarm.LocalNodeStateInactive {
		return cluster.Errorf(errdefs.ErrUnavailable, "This node is already part of a swarm. A backup is restored on a node that is in none: use \"docker swarm leave --force\" first.")
	}
	return nil
}
