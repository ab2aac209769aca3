package raftstore_test

import (
	"testing"
	"time"

	"shoal/internal/raftstore"
)

// TestProcessDeath: followers that would wait for a silent leader for minutes follow one at once whose port is closed.
func TestProcessDeath(t *testing.T) {
	patient := raftstore.Config{ElectionTimeout: 5 * time.Minute}
	first := start(t, raftstore.Config{Dir: t.TempDir(), ID: "n1", Bootstrap: true})
	first.awaitLead(t, true)
	first.mustWrite(t, "first")
	var others []*member
	for _, id := range []string{"n2", "n3"} {
		c := patient
		c.Dir, c.ID = t.TempDir(), id
		m := start(t, c)
		join(t, first, m)
		others = append(others, m)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	var next *member
	select {
	case <-others[0].leads:
		next = others[0]
	case <-others[1].leads:
		next = others[1]
	case <-time.After(patience):
		t.Fatal("nobody leads")
	}
	next.mustWrite(t, "second")
}

// TestCutOffIsNoDeath: a leader whose connections broke and whose port is open keeps its lead.
func TestCutOffIsNoDeath(t *testing.T) {
	first := start(t, raftstore.Config{Dir: t.TempDir(), ID: "n1", Bootstrap: true, ElectionTimeout: 2 * time.Second})
	first.awaitLead(t, true)
	first.mustWrite(t, "first")
	other := start(t, raftstore.Config{Dir: t.TempDir(), ID: "n2", ElectionTimeout: 5 * time.Minute})
	join(t, first, other)
	first.mustWrite(t, "before")
	other.await(t, "before") // it knows by now that it is a voter
	dialled := first.layer.accepted()
	other.layer.breakAll()
	eventually(t, "the follower looks for its leader", func() bool { return first.layer.accepted() > dialled })
	first.mustWrite(t, "second")
	other.await(t, "second")
	if !first.IsLeader() || len(first.leads) > 0 {
		t.Error("the leader was overthrown")
	}
}
