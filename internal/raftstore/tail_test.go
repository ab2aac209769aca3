package raftstore_test

import (
	"errors"
	"testing"

	"github.com/containerd/errdefs"

	"shoal/internal/raftstore"
)

func TestTailOfAStoppedServer(t *testing.T) {
	dir := t.TempDir()
	m := start(t, raftstore.Config{Dir: dir, ID: "n1", Bootstrap: true, Seal: key(1)})
	m.awaitLead(t, true)
	m.mustWrite(t, "first")
	before := m.Tail()
	m.mustWrite(t, "second")
	want := m.Tail()
	if want.Compare(before) <= 0 || before.Compare(want) >= 0 || want.Compare(want) != 0 {
		t.Errorf("%+v is not newer than %+v", want, before)
	}
	if _, err := raftstore.TailOf(dir); !errors.Is(err, errdefs.ErrConflict) {
		t.Errorf("of a running one: %v", err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := raftstore.TailOf(dir); err != nil || got != want {
		t.Errorf("stopped: %+v, %v, want %+v", got, err, want)
	}
	if err := raftstore.Recover(raftstore.Config{Dir: dir, ID: "n1", Seal: key(1), Transport: raftstore.At("x")}); err != nil {
		t.Fatal(err)
	}
	if got, err := raftstore.TailOf(dir); err != nil || got != want { // all of it is in the snapshot now
		t.Errorf("recovered: %+v, %v, want %+v", got, err, want)
	}
	if _, err := raftstore.TailOf(t.TempDir()); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("of nothing: %v", err)
	}
}

func TestTailsCompareByTermFirst(t *testing.T) {
	for _, c := range []struct {
		newer, older raftstore.Tail
	}{
		{raftstore.Tail{Index: 5, Term: 3}, raftstore.Tail{Index: 9, Term: 2}},
		{raftstore.Tail{Index: 9, Term: 2}, raftstore.Tail{Index: 5, Term: 2}},
		{raftstore.Tail{Index: 1, Term: 1}, raftstore.Tail{}},
	} {
		if c.newer.Compare(c.older) <= 0 || c.older.Compare(c.newer) >= 0 {
			t.Errorf("%+v is not newer than %+v", c.newer, c.older)
		}
	}
}
