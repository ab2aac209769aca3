package store_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"shoal/internal/store"
	"shoal/internal/store/storetest"
)

func filled(t testing.TB) (*store.Store, []byte) {
	s := storetest.New(t)
	storetest.Update(t, s, func(tx *store.Tx) {
		store.Services.Put(tx, service("s1", "web"))
		store.Tasks.Put(tx, task("t1", "s1"))
		store.Tasks.Put(tx, task("t2", "s1"))
	})
	var b bytes.Buffer
	n, err := s.Snapshot().WriteTo(&b)
	if err != nil || n != int64(b.Len()) {
		t.Fatalf("wrote %d of %d bytes: %v", n, b.Len(), err)
	}
	return s, b.Bytes()
}

func TestSnapshotRoundTrip(t *testing.T) {
	s, snapshot := filled(t)
	restored := store.New()
	if err := restored.Restore(bytes.NewReader(snapshot)); err != nil {
		t.Fatal(err)
	}
	if restored.Index() != s.Index() || !restored.View().Time().Equal(s.View().Time()) {
		t.Errorf("at %d %v, want %d %v", restored.Index(), restored.View().Time(), s.Index(), s.View().Time())
	}
	if diff := cmp.Diff(tasksOf(s.View()), tasksOf(restored.View()), exact); diff != "" {
		t.Error(diff)
	}
	var again bytes.Buffer
	if _, err := restored.Snapshot().WriteTo(&again); err != nil || !bytes.Equal(again.Bytes(), snapshot) {
		t.Errorf("a snapshot of the restored store differs (%v)", err)
	}
	// A restored store goes on.
	restored.Lead(storetest.Proposer{Store: restored})
	defer restored.Follow()
	if i := storetest.Update(t, restored, func(tx *store.Tx) { store.Tasks.Delete(tx, "t1") }); i != s.Index()+1 {
		t.Errorf("index %d", i)
	}
}

// TestDamagedSnapshot cuts and flips every byte: none may be taken, and none may change the store.
func TestDamagedSnapshot(t *testing.T) {
	s, snapshot := filled(t)
	index := storetest.Update(t, s, func(tx *store.Tx) { store.Tasks.Delete(tx, "t1") })
	for i := range snapshot {
		flipped := bytes.Clone(snapshot)
		flipped[i] ^= 0x01
		for name, damaged := range map[string][]byte{"cut": snapshot[:i], "flipped": flipped} {
			if err := s.Restore(bytes.NewReader(damaged)); err == nil {
				t.Fatalf("%s at %d: taken", name, i)
			}
		}
	}
	if s.Index() != index || store.Tasks.Len(s.View()) != 1 {
		t.Errorf("the store has changed: index %d, %d tasks", s.Index(), store.Tasks.Len(s.View()))
	}
}

func FuzzRestore(f *testing.F) {
	_, snapshot := filled(f)
	f.Add(snapshot)
	f.Fuzz(func(t *testing.T, b []byte) {
		s := store.New()
		if err := s.Restore(bytes.NewReader(b)); err != nil && s.Index() != 0 {
			t.Errorf("refused, yet the index is %d", s.Index())
		}
	})
}
