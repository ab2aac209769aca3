package cluster

import (
	"time"

	"github.com/containerd/errdefs"
)

// CleanupLabel is the swarm's label that turns on the clean-up of dead managers; its value is for how long a manager must
// have been unreachable. Without it none is ever taken out.
const CleanupLabel = "shoal.autopilot.cleanup"

// minCleanup keeps a restart of a manager from costing it its vote.
const minCleanup = 10 * time.Second

// Cleanup reads [CleanupLabel] off the swarm's labels; 0: off. The error is of class InvalidArgument.
func Cleanup(labels map[string]string) (time.Duration, error) {
	text, on := labels[CleanupLabel]
	if !on {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < minCleanup {
		return 0, Errorf(errdefs.ErrInvalidArgument, "label %s: %q is no duration of %s or more, as in 10m", CleanupLabel, text, minCleanup)
	}
	return d, nil
}
