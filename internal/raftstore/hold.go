package raftstore

import (
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// holdTime is how long at least a follower that has got a snapshot is given to catch up from there; as much again as the
// sending took, if that was longer.
const holdTime = time.Minute

// retained is what of the log must stay for followers that are being sent a snapshot. A snapshot of a large state is under
// way for longer than it takes until the next one: if the log were cut there, what follows the sent one would be gone, and
// the follower would be sent one snapshot after the other for as long as there are writes.
type retained struct {
	mu    sync.Mutex
	holds map[*hold]bool
}

// hold keeps every entry from an index on.
type hold struct {
	from  uint64
	began time.Time
	until time.Time // zero: the snapshot is still being read
}

// begin holds the entries that follow a snapshot, and the last one in it, whose term a leader names, until it has been read and
// some time has passed.
func (h *retained) begin(snapshot uint64, now time.Time) *hold {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.holds == nil {
		h.holds = map[*hold]bool{}
	}
	one := &hold{from: snapshot, began: now}
	h.holds[one] = true
	return one
}

func (h *retained) end(one *hold, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	one.until = now.Add(max(holdTime, now.Sub(one.began)))
}

// floor is the first entry that must stay; 0: none must.
func (h *retained) floor(now time.Time) (from uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for one := range h.holds {
		switch {
		case !one.until.IsZero() && now.After(one.until):
			delete(h.holds, one)
		case from == 0 || one.from < from:
			from = one.from
		}
	}
	return from
}

// heldLog is the log that Raft sees: its growth is watched, and its beginning goes only as far as the holds let it.
type heldLog struct {
	*diskLog
	holds  *retained
	growth *growth
}

// StoreLogs appends entries and returns when they are on disk.
func (l heldLog) StoreLogs(logs []*raft.Log) error {
	err := l.diskLog.StoreLogs(logs)
	if err == nil {
		l.growth.log(logs)
	}
	return err
}

// DeleteRange removes the beginning or the end of the log. What is held of the beginning stays: Raft asks again after its
// next snapshot.
func (l heldLog) DeleteRange(first, last uint64) error {
	end, err := l.LastIndex()
	if err != nil {
		return err
	}
	if last < end { // the beginning alone; an end that conflicts goes as a whole
		if floor := l.holds.floor(time.Now()); floor > 0 && last >= floor {
			last = floor - 1
		}
		if last < first {
			return nil
		}
	}
	return l.diskLog.DeleteRange(first, last)
}

// tracked is a snapshot store that holds the log for what is read from it, counts what is written to it, and keeps that
// from piling up in memory.
type tracked struct {
	raft.SnapshotStore
	dir     string // the node's
	holds   *retained
	written *atomic.Uint64
	growth  *growth
}

// Create begins a snapshot.
func (t tracked) Create(version raft.SnapshotVersion, index, term uint64, c raft.Configuration, cIndex uint64, tr raft.Transport) (raft.SnapshotSink, error) {
	sink, err := t.SnapshotStore.Create(version, index, term, c, cIndex, tr)
	if err != nil {
		return nil, err
	}
	t.growth.begin()
	return &trackedSink{SnapshotSink: sink, to: t, out: newWriteOut(t.dir, sink.ID())}, nil
}

type trackedSink struct {
	raft.SnapshotSink
	to  tracked
	out *writeOut
}

func (s *trackedSink) Write(b []byte) (int, error) {
	n, err := s.SnapshotSink.Write(b)
	s.to.written.Add(uint64(n))
	s.out.grown(n)
	return n, err
}

func (s *trackedSink) Close() error {
	s.out.close()
	if err := s.SnapshotSink.Close(); err != nil {
		return err
	}
	s.to.growth.newest.Store(s.out.size)
	return nil
}

func (s *trackedSink) Cancel() error {
	s.out.close()
	return s.SnapshotSink.Cancel()
}

// Open reads a snapshot.
func (t tracked) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	meta, r, err := t.SnapshotStore.Open(id)
	if err != nil {
		return nil, nil, err
	}
	return meta, &trackedReader{ReadCloser: r, holds: t.holds, hold: t.holds.begin(meta.Index, time.Now())}, nil
}

type trackedReader struct {
	io.ReadCloser
	holds *retained
	hold  *hold
	once  sync.Once
}

// Close ends the reading; the hold outlives it by a while.
func (r *trackedReader) Close() error {
	r.once.Do(func() { r.holds.end(r.hold, time.Now()) })
	return r.ReadCloser.Close()
}
