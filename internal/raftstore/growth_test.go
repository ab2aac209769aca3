package raftstore

import (
	"testing"

	"github.com/hashicorp/raft"
)

// TestGrowth: a snapshot is due when the log has grown by more than the newest one holds, and by no less than the bound.
func TestGrowth(t *testing.T) {
	const least = 1000
	g := newGrowth(least)
	due := func() bool {
		select {
		case <-g.due:
			return true
		default:
			return false
		}
	}
	entry := func(size int) []*raft.Log { return []*raft.Log{{Data: make([]byte, size)}} }
	for _, step := range []struct {
		newest int64
		size   int
		want   bool
	}{{0, least, false}, {0, least, true}, {3 * least, 2 * least, false}, {3 * least, 2 * least, true}, {0, 1, false}} {
		g.newest.Store(step.newest)
		g.log(entry(step.size))
		if due() != step.want {
			t.Errorf("%+v: due: %v", step, !step.want)
		}
		if step.want {
			g.begin()
		}
	}
}
