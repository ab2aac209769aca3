package raftstore

import (
	"testing"

	"github.com/hashicorp/raft"
)

func TestTurn(t *testing.T) {
	servers := []raft.Server{{ID: "d", Suffrage: raft.Voter}, {ID: "c", Suffrage: raft.Voter}, {ID: "a", Suffrage: raft.Voter}, {ID: "b", Suffrage: raft.Nonvoter}}
	for self, want := range map[raft.ServerID]int{"a": 0, "d": 1, "c": -1, "b": -1, "gone": -1} {
		if got := turnOf(servers, "c", self); got != want {
			t.Errorf("%s: %d, want %d", self, got, want)
		}
	}
}
