package raftstore

import (
	"errors"
	"math/rand/v2"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// growth asks for a snapshot when the log has grown by more than the newest one holds. Raft itself counts entries, of which
// ten thousand may be a megabyte or some gigabytes: a manager that joins would be sent all of these, and one that starts
// would read them. A log that doubles between two snapshots costs each byte that is written one more, however large the state.
type growth struct {
	least  int64 // what the log may grow by at any size of the state, in bytes
	logged atomic.Int64
	newest atomic.Int64 // the size of the newest snapshot
	due    chan struct{}
}

// newGrowth adds up to half to least by chance, so that managers, whose logs are the same, do not all write at once.
func newGrowth(least int64) *growth {
	return &growth{least: least + rand.Int64N(least/2+1), due: make(chan struct{}, 1)}
}

// log notes entries that were written.
func (g *growth) log(logs []*raft.Log) {
	size := int64(0)
	for _, l := range logs {
		size += int64(len(l.Data))
	}
	if g.logged.Add(size) > max(g.least, g.newest.Load()) {
		select {
		case g.due <- struct{}{}:
		default:
		}
	}
}

// begin notes that a snapshot of what is there now is being written.
func (g *growth) begin() { g.logged.Store(0) }

// snapshots writes one whenever it is due, until done is closed.
func (n *Node) snapshots(done <-chan struct{}) {
	for {
		select {
		case <-n.disk.growth.due:
		case <-done:
			return
		}
		if err := n.Snapshot(); err != nil && !errors.Is(err, raft.ErrRaftShutdown) {
			n.config.Log.Warn("cannot write a snapshot, the log goes on growing", "error", err)
		}
	}
}
