package raftstore_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"

	"shoal/internal/raftstore"
)

// exportOf is a leader's state with "first" and "last" in it, and what describes it.
func exportOf(t *testing.T, seal *raftstore.Sealer) (state []byte, description json.RawMessage, index uint64) {
	t.Helper()
	m := start(t, raftstore.Config{Dir: t.TempDir(), ID: "n1", Bootstrap: true, Seal: seal})
	m.awaitLead(t, true)
	m.mustWrite(t, "first", "last")
	e := m.Export()
	m.mustWrite(t, "later")
	var out bytes.Buffer
	n, err := e.WriteTo(&out)
	if err != nil || n != int64(out.Len()) {
		t.Fatalf("wrote %d of %d bytes: %v", n, out.Len(), err)
	}
	if description, err = e.Describe(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), description, m.store.Index()
}

func TestExportIsImported(t *testing.T) {
	for name, tc := range map[string]struct{ seal, at *raftstore.Sealer }{
		"sealed, with the key":    {key(1), key(1)},
		"sealed, without the key": {key(1), nil},
		"in the clear":            {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			state, description, index := exportOf(t, tc.seal)
			dir := filepath.Join(t.TempDir(), "raft")
			if err := raftstore.Import(dir, "n1", "10.0.0.1:2377", tc.at, description, bytes.NewReader(state), nil); err != nil {
				t.Fatal(err)
			}
			m := start(t, raftstore.Config{Dir: dir, ID: "n1", Seal: tc.seal})
			m.awaitLead(t, true)
			if !m.has("first") || !m.has("last") || m.has("later") {
				t.Errorf("not the state of the export")
			}
			if m.store.Index() < 2*index {
				t.Errorf("index %d gives out again what was given out before %d", m.store.Index(), index)
			}
			m.mustWrite(t, "goes on")
			other := start(t, raftstore.Config{Dir: t.TempDir(), ID: "n2"})
			join(t, m, other)
			other.await(t, "goes on")
			if got := m.Servers(); len(got) != 2 || got[0].Addr != "10.0.0.1:2377" {
				t.Errorf("servers: %+v", got)
			}
		})
	}
}

func TestImportRefuses(t *testing.T) {
	state, description, _ := exportOf(t, key(1))
	for name, tc := range map[string]struct {
		state       []byte
		description string
		seal        *raftstore.Sealer
		class       error
	}{
		"another key":         {state, string(description), key(2), errdefs.ErrPermissionDenied},
		"a cut state":         {state[:len(state)-1], string(description), key(1), errdefs.ErrDataLoss},
		"another description": {state, "{}", key(1), errdefs.ErrDataLoss},
	} {
		err := raftstore.Import(t.TempDir(), "n1", "10.0.0.1:2377", tc.seal, json.RawMessage(tc.description), bytes.NewReader(tc.state), nil)
		if !errors.Is(err, tc.class) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
