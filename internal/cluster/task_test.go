package cluster_test

import (
	"testing"

	"shoal/internal/cluster"
)

func TestRankIsThePlaceAmongTheStates(t *testing.T) {
	states := cluster.States()
	if len(states) != 15 {
		t.Fatalf("%d states, want 15", len(states))
	}
	for i, s := range states {
		if got := cluster.Rank(s); got != i {
			t.Errorf("%s ranks %d, want %d", s, got, i)
		}
	}
	if got := cluster.Rank("unheard of"); got != 0 {
		t.Errorf("an unknown state ranks %d, want 0", got)
	}
}
