package store

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/containerd/errdefs"
	"github.com/fxamacker/cbor/v2"

	"shoal/internal/cluster"
)

// A snapshot is a sequence of CBOR items: a header, every object, a trailer with the checksum of all before it.

// magic tells a snapshot from any other file.
const magic = "shoal store"

type snapshotHeader struct {
	_      struct{} `cbor:",toarray"`
	Magic  string
	Format uint
	Index  uint64
	At     time.Time
}

// snapshotRecord is an object, or the trailer: Table -1, Object the SHA-256 of every byte before the trailer.
type snapshotRecord struct {
	_      struct{} `cbor:",toarray"`
	Table  int
	ID     string
	Object []byte
}

const trailer = -1

// Snapshot is the state at one index, ready to be written out while the store goes on.
type Snapshot struct{ View }

// Snapshot takes the applied state, in constant time.
func (s *Store) Snapshot() Snapshot { return Snapshot{s.View()} }

// Ahead is the same objects at an index that is n higher: what begins again from an older state must not give out indexes
// a second time.
func (s Snapshot) Ahead(n uint64) Snapshot {
	next := *s.state
	next.index += n
	return Snapshot{View{&next}}
}

// WriteTo streams the snapshot to w and returns the bytes written. It needs no more memory than one object takes.
func (s Snapshot) WriteTo(w io.Writer) (int64, error) {
	out := &summer{w: bufio.NewWriterSize(w, 1<<16), sum: sha256.New()}
	err := out.item(snapshotHeader{Magic: magic, Format: format, Index: s.state.index, At: s.state.at})
	for pos, table := range s.state.tables {
		table.each(func(id string, o any) bool {
			if err != nil {
				return false
			}
			var encoded []byte
			if encoded, err = cluster.Marshal(o); err == nil {
				err = out.item(snapshotRecord{Table: pos, ID: id, Object: encoded})
			}
			return err == nil
		})
	}
	if err == nil {
		err = out.item(snapshotRecord{Table: trailer, Object: out.sum.Sum(nil)})
	}
	if err == nil {
		err = out.w.Flush()
	}
	if err != nil {
		return out.n, fmt.Errorf("write snapshot: %w", err)
	}
	return out.n, nil
}

type summer struct {
	w   *bufio.Writer
	sum hash.Hash
	n   int64
}

func (s *summer) item(v any) error {
	b, err := cluster.Marshal(v)
	if err != nil {
		return err
	}
	s.sum.Write(b)
	n, err := s.w.Write(b)
	s.n += int64(n)
	return err
}

// Restore replaces the state by a snapshot's, after it has read and verified all of it; after an error the state is
// what it was. Every watcher gets ErrBehind.
func (s *Store) Restore(r io.Reader) error {
	next, err := readSnapshot(r)
	if err != nil {
		return fmt.Errorf("restore snapshot: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.applied.Store(next)
	s.history.reset(next.index)
	return nil
}

func readSnapshot(r io.Reader) (*state, error) {
	in := &itemReader{decoder: cbor.NewDecoder(r), sum: sha256.New()}
	var head snapshotHeader
	if err := in.item(&head); err != nil {
		return nil, err
	}
	if head.Magic != magic {
		return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "this is not a snapshot of shoal's store")
	}
	if head.Format != format {
		return nil, cluster.Errorf(errdefs.ErrNotImplemented, "it has format %d, this version of shoal knows %d", head.Format, format)
	}
	next := newState()
	next.index, next.at = head.Index, head.At
	for {
		var record snapshotRecord
		if err := in.item(&record); err != nil {
			return nil, err
		}
		if record.Table == trailer {
			if !bytes.Equal(in.sum.Sum(nil), record.Object) {
				return nil, cluster.Errorf(errdefs.ErrDataLoss, "its checksum is wrong: the snapshot is damaged")
			}
			return next, nil
		}
		if record.Table < 0 || record.Table >= len(schema) {
			return nil, cluster.Errorf(errdefs.ErrNotImplemented, "it names table %d, which this version of shoal does not know", record.Table)
		}
		o, err := next.tables[record.Table].decode(record.ID, record.Object)
		if err != nil {
			return nil, err
		}
		next.set(record.Table, record.ID, o)
	}
}

type itemReader struct {
	decoder *cbor.Decoder
	last    cbor.RawMessage
	sum     hash.Hash // of all items before the last one
}

func (r *itemReader) item(v any) error {
	r.sum.Write(r.last)
	if err := r.decoder.Decode(&r.last); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return cluster.Errorf(errdefs.ErrDataLoss, "the snapshot is cut short or damaged: %v", err)
	}
	if err := cluster.Unmarshal(r.last, v); err != nil {
		return cluster.Errorf(errdefs.ErrDataLoss, "the snapshot is damaged: %v", err)
	}
	return nil
}
