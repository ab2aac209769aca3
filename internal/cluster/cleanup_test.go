package cluster_test

import (
	"errors"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"shoal/internal/cluster"
)

func TestCleanup(t *testing.T) {
	for _, c := range []struct {
		labels map[string]string
		want   time.Duration
		ok     bool
	}{
		{nil, 0, true},
		{map[string]string{"other": "10m"}, 0, true},
		{map[string]string{cluster.CleanupLabel: "10m"}, 10 * time.Minute, true},
		{map[string]string{cluster.CleanupLabel: "10s"}, 10 * time.Second, true},
		{map[string]string{cluster.CleanupLabel: "9s"}, 0, false},
		{map[string]string{cluster.CleanupLabel: ""}, 0, false},
		{map[string]string{cluster.CleanupLabel: "600"}, 0, false},
		{map[string]string{cluster.CleanupLabel: "-10m"}, 0, false},
	} {
		got, err := cluster.Cleanup(c.labels)
		if got != c.want || (err == nil) != c.ok || err != nil && !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%v: %v, %v", c.labels, got, err)
		}
	}
}
