package cli

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRelabel(t *testing.T) {
	have := map[string]string{"a": "1", "b": "2"}
	got := relabel(have, []string{"c=3", "a=4", "d"}, []string{"b", "none"})
	if d := cmp.Diff(map[string]string{"a": "4", "c": "3", "d": ""}, got); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(map[string]string{"a": "1", "b": "2"}, have); d != "" {
		t.Errorf("what it was given: %s", d)
	}
	if got := relabel(map[string]string{"a": "1"}, nil, []string{"a"}); got == nil || len(got) != 0 {
		t.Errorf("the last one removed: %v", got)
	}
}
