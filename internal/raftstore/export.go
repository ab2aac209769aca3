package raftstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	"github.com/hashicorp/raft"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// leap is how far the store's index jumps when a swarm begins again from an older state: further than it can have come
// since. Versions that clients hold, and what nodes have noted as applied, then lie in the past, as they should, and
// never name something else than they did.
const leap = 1 << 32

// Export is the applied state at one moment, to be written out and begun again from, as [Import] does. It is sealed as
// the snapshots on disk are.
type Export struct {
	at       exported
	snapshot store.Snapshot
	seal     *Sealer
}

// exported is what a reader must know of an export beside its bytes.
type exported struct {
	Index, Term uint64 // Raft's, which the seal is bound to
	Marker      []byte `json:",omitempty"` // the marker of the seal; empty: not sealed
}

// Export takes the state as it is applied here, in constant time.
func (n *Node) Export() Export {
	// Raft's index is the older of the two, or the same: it only has to be one that the state has seen.
	at := exported{Index: max(1, n.raft.AppliedIndex()), Term: max(1, n.raft.CurrentTerm())}
	if n.config.Seal != nil {
		at.Marker = n.config.Seal.seal([]byte(markerText), nil)
	}
	return Export{at, n.config.Store.Snapshot().Ahead(leap), n.config.Seal}
}

// View is the state that the export holds.
func (e Export) View() store.View { return e.snapshot.View }

// Describe is what Import must be given beside the bytes. It is not secret.
func (e Export) Describe() (json.RawMessage, error) { return json.Marshal(e.at) }

// WriteTo writes the state.
func (e Export) WriteTo(w io.Writer) (int64, error) {
	if e.seal == nil {
		return e.snapshot.WriteTo(w)
	}
	c := &counter{w: w}
	sealed := newSealWriter(c, e.seal, e.at.Index, e.at.Term)
	_, err := e.snapshot.WriteTo(sealed)
	if err == nil {
		err = sealed.finish()
	}
	return c.n, err
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

// Import makes in dir, which must be empty or missing, the state of a Raft group whose only member is the server of that
// ID and address, from an export and its description. With the key it was sealed with it is read through and found good
// or refused; with nil it is taken as it is, and waits for the key. After an error dir is worthless.
func Import(dir, id, addr string, seal *Sealer, description json.RawMessage, from io.Reader, log *slog.Logger) error {
	c, err := (&Config{Dir: dir, ID: id, Store: store.New(), Transport: At(addr), Seal: seal, Log: log}).withDefaults()
	if err != nil {
		return err
	}
	var at exported
	if err := json.Unmarshal(description, &at); err != nil || at.Index == 0 || at.Term == 0 {
		return cluster.Errorf(errdefs.ErrDataLoss, "the description of the raft state is damaged")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := writeMarker(dir, filepath.Join(dir, markerFile), at.Marker); err != nil {
		return err
	}
	if seal != nil {
		if err := checkSeal(dir, seal); err != nil {
			return err
		}
	}
	if err := c.importSnapshot(at, from); err != nil {
		return fmt.Errorf("write raft state: %w", err)
	}
	return c.setTerm(at.Term)
}

// importSnapshot writes the snapshot as it comes, which is sealed already, and reads it back with the key.
func (c *Config) importSnapshot(at exported, from io.Reader) error {
	snaps, err := raft.NewFileSnapshotStoreWithLogger(c.Dir, snapshotsKept, newLogger(c.Log))
	if err != nil {
		return err
	}
	sink, err := snaps.Create(raft.SnapshotVersionMax, at.Index, at.Term, only(*c), 1, c.Transport)
	if err != nil {
		return err
	}
	if _, err := io.Copy(sink, from); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	if err := sink.Close(); err != nil {
		return err
	}
	var readable raft.SnapshotStore = snaps
	switch {
	case c.Seal != nil:
		readable = &sealedSnapshots{snaps, c.Seal}
	case len(at.Marker) > 0:
		return nil // only the key can tell
	}
	_, r, err := readable.Open(sink.ID())
	if err != nil {
		return err
	}
	return errors.Join(c.Store.Restore(r), r.Close())
}

// keyTerm is where the library keeps its term.
var keyTerm = []byte("CurrentTerm")

// setTerm keeps the terms from beginning anew: entries after a snapshot have its term at least.
func (c *Config) setTerm(term uint64) error {
	l, err := openLog(filepath.Join(c.Dir, "wal"), c.SegmentSize, c.Seal, newLogger(c.Log))
	if err != nil {
		return err
	}
	return errors.Join(l.SetUint64(keyTerm, term), l.Close())
}
