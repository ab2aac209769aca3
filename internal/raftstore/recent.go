package raftstore

import (
	"sync"

	"github.com/hashicorp/raft"
)

// recentBytes bounds the entries that are kept in memory after they were written; one is kept at any size.
const recentBytes = 8 << 20

// recent is the end of the log in memory: Raft reads each entry several times soon after it was written, for each
// follower and for the store, and so does a follower. What it holds is on disk.
type recent struct {
	mu   sync.Mutex
	logs []*raft.Log // without gaps, oldest first
	size int
}

// add takes over entries that have been written.
func (r *recent) add(logs []*raft.Log) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, log := range logs {
		if n := len(r.logs); n > 0 && r.logs[n-1].Index+1 != log.Index {
			r.drop(n)
		}
		r.logs = append(r.logs, log)
		r.size += len(log.Data)
	}
	gone, size := 0, r.size
	for size > recentBytes && gone < len(r.logs)-1 {
		size -= len(r.logs[gone].Data)
		gone++
	}
	r.drop(gone)
}

// drop forgets the n oldest.
func (r *recent) drop(n int) {
	for i, log := range r.logs[:n] {
		r.size -= len(log.Data)
		r.logs[i] = nil
	}
	r.logs = r.logs[n:]
}

// forget drops everything: the end of the log may be another one.
func (r *recent) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop(len(r.logs))
}

// forgetFrom drops everything when something from that index on is held: it may be written anew, or half of it.
func (r *recent) forgetFrom(index uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.logs); n > 0 && r.logs[n-1].Index >= index {
		r.drop(n)
	}
}

// get reads an entry into log, if it is here.
func (r *recent) get(index uint64, log *raft.Log) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.logs) == 0 || index < r.logs[0].Index || index-r.logs[0].Index >= uint64(len(r.logs)) {
		return false
	}
	*log = *r.logs[index-r.logs[0].Index]
	return true
}
