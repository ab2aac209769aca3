package store

import (
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"shoal/internal/cluster"
)

// format is the version of entries and snapshots. A store refuses what is newer than itself.
const format = 1

// entry is what goes into the replicated log: transactions in their order, made on the index base.
type entry struct {
	_      struct{} `cbor:",toarray"`
	Format uint
	Base   uint64
	At     time.Time
	Txs    [][]wireChange
}

// wireChange is one object as it is after a transaction, nil Object: removed.
type wireChange struct {
	_      struct{} `cbor:",toarray"`
	Table  int      // position in the schema
	ID     string
	Object []byte

	object any // *T; of a decoded entry
}

// overhead is about what a change takes in an entry beside its object.
const overhead = 40

func encodeChanges(changes []rowChange) (wire []wireChange, size int, err error) {
	wire = make([]wireChange, 0, len(changes))
	for _, c := range changes {
		w := wireChange{Table: c.pos, ID: c.id}
		if c.now != nil {
			if w.Object, err = cluster.Marshal(c.now); err != nil {
				return nil, 0, fmt.Errorf("encode %s %s: %w", schema[c.pos].Name(), c.id, err)
			}
		}
		size += len(w.Object) + overhead
		if size > MaxTransaction {
			return nil, 0, fmt.Errorf("%w: more than %d MiB in %d objects", ErrTooLarge, MaxTransaction>>20, len(changes))
		}
		wire = append(wire, w)
	}
	return wire, size, nil
}

func encodeEntry(b *batch) ([]byte, error) {
	return cluster.Marshal(entry{Format: format, Base: b.base, At: b.at, Txs: b.txs})
}

// decodeEntry reads and checks all of an entry, so that applying it cannot fail.
func decodeEntry(encoded []byte, now *state) (*entry, error) {
	var e entry
	if err := cluster.Unmarshal(encoded, &e); err != nil {
		return nil, fmt.Errorf("decode entry: %w", err)
	}
	if e.Format != format {
		return nil, cluster.Errorf(errdefs.ErrNotImplemented, "entry has format %d, this version of shoal knows %d", e.Format, format)
	}
	if e.Base != now.index {
		return nil, fmt.Errorf("%w: it was made on %d, the store is at %d", ErrStale, e.Base, now.index)
	}
	for _, tx := range e.Txs {
		for i := range tx {
			c := &tx[i]
			if c.Table < 0 || c.Table >= len(schema) {
				return nil, cluster.Errorf(errdefs.ErrNotImplemented, "entry names table %d, which this version of shoal does not know", c.Table)
			}
			if c.Object == nil {
				continue
			}
			var err error
			if c.object, err = now.tables[c.Table].decode(c.ID, c.Object); err != nil {
				return nil, err
			}
			c.Object = nil
		}
	}
	return &e, nil
}

// applyTo returns the state after e and what has changed.
func (e *entry) applyTo(now *state) (*state, []Event) {
	next := now.fork()
	events := make([]Event, 0, len(e.Txs))
	for _, tx := range e.Txs {
		next.index++
		changes := make([]Change, 0, len(tx))
		for _, c := range tx {
			old := next.set(c.Table, c.ID, c.object)
			changes = append(changes, Change{Table: schema[c.Table].Name(), Old: old, New: c.object})
		}
		events = append(events, Event{Index: next.index, Changes: changes})
	}
	next.at = e.At
	return next, events
}

func event(index uint64, changes []rowChange) Event {
	e := Event{Index: index, Changes: make([]Change, 0, len(changes))}
	for _, c := range changes {
		e.Changes = append(e.Changes, Change{Table: schema[c.pos].Name(), Old: c.old, New: c.now})
	}
	return e
}
