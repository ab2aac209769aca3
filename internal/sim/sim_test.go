package sim_test

import (
	"flag"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/cryptotest"
	"testing/synctest"

	"shoal/internal/sim"
)

var (
	seed  = flag.Int64("seed", -1, "run this seed alone, and tell its story")
	seeds = flag.Int("seeds", 1000, "how many seeds to run")
)

// run lives through one seed.
func run(t *testing.T, seed uint64, story bool) (out sim.Outcome, err error) {
	t.Helper()
	cryptotest.SetGlobalRandom(t, seed)
	synctest.Test(t, func(*testing.T) { out, err = sim.Run(sim.Config{Seed: seed, Story: story}) })
	return out, err
}

func TestSeeds(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	if *seed >= 0 {
		out, err := run(t, uint64(*seed), true)
		t.Logf("seed %d: %d entries, %d acknowledged writes in %s\n%s", *seed, out.Entries, out.Writes, out.Time, strings.Join(out.Story, "\n"))
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	for i := range *seeds {
		if _, err := run(t, uint64(i), false); err != nil {
			t.Errorf("seed %d: %v\n%s", i, err, again(i))
		}
	}
}

func again(seed int) string {
	return fmt.Sprintf("run it again: go test ./internal/sim -run TestSeeds -seed=%d", seed)
}
