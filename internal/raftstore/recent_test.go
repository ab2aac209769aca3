package raftstore

import (
	"testing"

	"github.com/hashicorp/raft"
)

func TestRecentEntries(t *testing.T) {
	var r recent
	entry := func(index uint64, size int) *raft.Log {
		return &raft.Log{Index: index, Term: index, Data: make([]byte, size)}
	}
	has := func(index uint64) bool {
		var log raft.Log
		ok := r.get(index, &log)
		if ok && (log.Index != index || log.Term != index) {
			t.Errorf("asked for %d, got %d", index, log.Index)
		}
		return ok
	}
	r.add([]*raft.Log{entry(5, 10), entry(6, 10)})
	r.add([]*raft.Log{entry(7, 10)})
	if has(4) || !has(5) || !has(7) || has(8) {
		t.Error("5 to 7 are to be held, and nothing else")
	}
	r.add([]*raft.Log{entry(8, recentBytes)})
	if has(7) || !has(8) {
		t.Error("a large entry is to be held alone")
	}
	r.add([]*raft.Log{entry(8, 1)}) // a new leader has replaced the end
	if !has(8) || has(9) || r.size != 1 {
		t.Errorf("after another entry 8: %d entries, %d bytes", len(r.logs), r.size)
	}
	r.add([]*raft.Log{entry(20, 1)})
	if has(8) || !has(20) {
		t.Error("after a gap only what follows it is to be held")
	}
	r.forget()
	if has(20) || r.size != 0 {
		t.Error("an entry is held although all were to be forgotten")
	}
}
