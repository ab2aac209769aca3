package sim_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/cryptotest"
	"testing/synctest"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/sim"
)

// TestLeaderKilledAtEveryStep kills the leader after every single transaction of an update and of its rollback: the next
// one goes on with neither a repeated nor a skipped slot.
func TestLeaderKilledAtEveryStep(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, r := range []sim.Rollout{
		{Order: swarm.UpdateOrderStopFirst, Parallelism: 1},
		{Order: swarm.UpdateOrderStopFirst, Parallelism: 2},
		{Order: swarm.UpdateOrderStartFirst, Parallelism: 1},
		{Order: swarm.UpdateOrderStartFirst, Parallelism: 0},
	} {
		t.Run(fmt.Sprintf("%s, %d at a time", r.Order, r.Parallelism), func(t *testing.T) {
			r.KillAfter = -1
			steps := rollOut(t, r)
			if steps < 20 {
				t.Fatalf("%d transactions: nothing was rolled out", steps)
			}
			for r.KillAfter = range steps + 2 {
				if raceDetector && r.KillAfter%16 != 0 {
					continue
				}
				rollOut(t, r)
			}
			t.Logf("%d steps", steps)
		})
	}
}

func rollOut(t *testing.T, r sim.Rollout) (steps int) {
	t.Helper()
	cryptotest.SetGlobalRandom(t, 1)
	run := func(story bool) (said []string, err error) {
		r.Story = story
		synctest.Test(t, func(*testing.T) { steps, said, err = r.Run() })
		return said, err
	}
	if _, err := run(false); err != nil {
		said, _ := run(true)
		t.Errorf("leader killed after %d transactions: %v\n%s", r.KillAfter, err, strings.Join(said, "\n"))
	}
	return steps
}
