package raftstore

import (
	"errors"
	"io"
	"log/slog"

	"github.com/hashicorp/raft"

	"shoal/internal/store"
)

// fsm hands committed entries to the store. Raft calls it from one goroutine, but for Persist, which runs beside.
type fsm struct {
	store  *store.Store
	log    *slog.Logger
	failed func(error) // called once, when an entry could not be understood
	err    error
	ahead  uint64 // how far snapshots are ahead of the store's index; not 0 only in Recover
}

// Apply returns the store's error, or nil.
func (f *fsm) Apply(l *raft.Log) any {
	if l.Type != raft.LogCommand {
		return nil
	}
	if f.err != nil {
		return f.err
	}
	err := f.store.Apply(l.Data)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrStale):
		// Left over by a leader that was overthrown. Every manager refuses it alike.
		f.log.Debug("entry of an earlier leader refused", "raft_index", l.Index, "error", err)
	default:
		f.err = err
		f.failed(err)
	}
	return err
}

// ApplyBatch makes the library hand over all that is committed at once.
func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	results := make([]any, len(logs))
	for i, l := range logs {
		results[i] = f.Apply(l)
	}
	return results
}

func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	if f.err != nil {
		return nil, f.err
	}
	return snapshot{f.store.Snapshot().Ahead(f.ahead)}, nil
}

func (f *fsm) Restore(r io.ReadCloser) error {
	defer r.Close()
	return f.store.Restore(r)
}

type snapshot struct{ store.Snapshot }

func (s snapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := s.WriteTo(sink); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

func (snapshot) Release() {}
