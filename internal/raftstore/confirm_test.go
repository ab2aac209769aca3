package raftstore_test

import (
	"errors"
	"testing"

	"shoal/internal/raftstore"
	"shoal/internal/store"
)

// TestConfirm: a leader that was cut off knows at once that it cannot speak for the group, also while it still believes that it
// leads; whoever leads now has all that was acknowledged before.
func TestConfirm(t *testing.T) {
	members := group(t, 3, raftstore.Config{})
	old := members[0]
	old.mustWrite(t, "a")
	if err := old.Confirm(t.Context()); err != nil {
		t.Fatalf("the leader: %v", err)
	}
	if err := members[1].Confirm(t.Context()); !errors.Is(err, store.ErrNotLeader) {
		t.Errorf("a follower: %v", err)
	}
	old.layer.setCut(true)
	if !old.IsLeader() {
		t.Fatal("it has noticed too soon for this test")
	}
	if err := old.Confirm(t.Context()); !errors.Is(err, store.ErrNotLeader) {
		t.Errorf("a leader that was cut off: %v", err)
	}
	next := members[1]
	select {
	case <-members[1].leads:
	case <-members[2].leads:
		next = members[2]
	}
	if err := next.Confirm(t.Context()); err != nil || !next.has("a") {
		t.Errorf("the next leader: %v, has the write: %v", err, next.has("a"))
	}
}
