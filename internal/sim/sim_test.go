package sim_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"shoal/internal/sim"
)

var (
	seed  = flag.Int64("seed", -1, "run this seed alone, and tell its story")
	first = flag.Int("first", 0, "the first of the seeds to run")
	seeds = flag.Int("seeds", 0, "how many seeds to run; 0: 1,000, with the race detector 20")
	each  = flag.Int("each", 1, "run every n-th of them")
)

// hangTime is how long a run may take here; most take 0.1 s.
const hangTime = 5 * time.Minute

// live lives through one seed, on one processor that nothing else uses: see the package's comment.
func live(t *testing.T, c sim.Config) (out sim.Outcome, err error) {
	t.Helper()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(1 << 30))
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // the collector stops goroutines when it likes
	defer runtime.GC()
	cryptotest.SetGlobalRandom(t, c.Seed)
	// A run that spins at one instant comes to no end of its own.
	hang := time.AfterFunc(hangTime, func() { panic(fmt.Sprintf("seed %d does not come on", c.Seed)) })
	defer hang.Stop()
	synctest.Test(t, func(*testing.T) { out, err = sim.Run(c) })
	return out, err
}

func again(seed int) string {
	return fmt.Sprintf("its story: go test ./internal/sim -run 'TestSeeds$' -seed=%d", seed)
}

// TestSeeds runs seeds, or the one that -seed names. Each processor has a process of its own, since a run has all of it
// to itself.
func TestSeeds(t *testing.T) {
	if *seed >= 0 {
		out, err := live(t, sim.Config{Seed: uint64(*seed), Story: true})
		t.Logf("seed %d: %d entries, %d acknowledged writes in %s\n%s", *seed, out.Entries, out.Writes, out.Time, strings.Join(out.Story, "\n"))
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	count := *seeds
	if count == 0 {
		count = 1000
		if raceDetector {
			count = 20
		}
	}
	if *each > 1 || runtime.NumCPU() == 1 || raceDetector {
		some(t, count)
		return
	}
	var wg sync.WaitGroup
	for i := range runtime.NumCPU() {
		wg.Go(func() { share(t, i, count) })
	}
	wg.Wait()
}

// some runs this process's share of the seeds.
func some(t *testing.T, count int) {
	entries, writes := 0, 0
	for i := *first; i < *first+count; i++ {
		if (i-*first)%*each != 0 {
			continue
		}
		fmt.Fprintf(os.Stderr, "\rseed %d: ", i) // the last one, should the process die of it
		out, err := live(t, sim.Config{Seed: uint64(i)})
		entries, writes = entries+out.Entries, writes+out.Writes
		if err != nil {
			t.Errorf("seed %d: %v\n%s", i, err, again(i))
		}
	}
	t.Logf("%d log entries, %d acknowledged writes", entries, writes)
}

// share has another process run every n-th seed, n being the number of processors.
func share(t *testing.T, i, count int) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestSeeds$", "-test.timeout=0", fmt.Sprint("-first=", *first+i),
		fmt.Sprint("-seeds=", count-i), fmt.Sprint("-each=", runtime.NumCPU()))
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		text := said.String()
		t.Errorf("%v\n%s", err, text[strings.LastIndex(text, "\r")+1:])
	}
}

// TestRulesNotice breaks a promise that the product builds on, and holds that a rule says so.
func TestRulesNotice(t *testing.T) {
	for _, lie := range []sim.Lie{sim.LieCommitted, sim.LieApplied, sim.LieStopped, sim.LieMember, sim.LieVote, sim.LieRemoved, sim.LieRenewed} {
		noticed := 0
		for i := range uint64(8) {
			if _, err := live(t, sim.Config{Seed: i, Lie: lie}); err != nil {
				noticed++
			}
		}
		if noticed < 2 {
			t.Errorf("%s: %d of 8 seeds noticed", lie, noticed)
		}
	}
}

// TestSameSeedSameStory holds that a seed is a run: the same transactions and containers at the same nanoseconds. What Go
// leaves to chance makes one run in a hundred or so go another way, more on a machine that is very busy; half of them
// would be another thing.
func TestSameSeedSameStory(t *testing.T) {
	runs, same := 12, 0
	if raceDetector {
		runs = 2
	}
	for i := range uint64(runs) {
		one, err := live(t, sim.Config{Seed: i, Story: true})
		if err != nil {
			t.Errorf("seed %d: %v", i, err)
		}
		two, err := live(t, sim.Config{Seed: i, Story: true})
		if err != nil {
			t.Errorf("seed %d: %v", i, err)
		}
		k := 0
		for k < len(one.Story) && line(one.Story, k) == line(two.Story, k) {
			k++
		}
		if k == len(one.Story) && k == len(two.Story) {
			same++
			continue
		}
		t.Logf("seed %d goes another way at line %d of %d:\n%s\n%s", i, k, len(one.Story), line(one.Story, k), line(two.Story, k))
	}
	if same <= runs/2 && !raceDetector { // which shuffles goroutines

		t.Errorf("%d of %d runs were the same", same, runs)
	}
}

func line(story []string, k int) string {
	if k < len(story) {
		return story[k]
	}
	return "(over)"
}
