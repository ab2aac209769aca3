package chaos

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"shoal/internal/cli/playground"
)

// short is what runs when nothing else is asked for: each kind of trouble once, none of it long enough to call a node Down.
var short = []string{"leader/stop", "leader/mute", "follower/full", "worker/deaf", "leader/full", "follower/kill", "worker/pause"}

const (
	// A fault in the short form, and in the long one, where a worker's silence is long enough for its tasks to move.
	shortFault, longFault = 1500 * time.Millisecond, 5 * time.Second
	// moveTime is how long the tasks of a machine that nobody reaches may take to run elsewhere, from the beginning of the fault;
	// pausedTime when its kernel still answers for it, so that it is waited for longer. An idle machine needs 6 and 16 s; these
	// are for one on which elections have to be repeated since nobody gets the processor.
	moveTime, pausedTime = 30 * time.Second, 45 * time.Second
	// settleTime is how long everything may take to be as before, from the end of the fault.
	settleTime = 40 * time.Second
	// enough is how many operations the history of a long round has at least.
	enough = 5000
)

// TestChaos breaks machines one after the other while clients work, and checks after each fault, and the history at the end.
func TestChaos(t *testing.T) {
	rounds, _ := strconv.Atoi(os.Getenv("SHOAL_CHAOS_COUNT"))
	list := words("SHOAL_CHAOS_FAULTS", short)
	if rounds > 0 && os.Getenv("SHOAL_CHAOS_FAULTS") == "" {
		list = everything()
	}
	r := newRig(t, "10.99.81.0/24")
	for round := range max(1, rounds) {
		t.Logf("round %d", round+1)
		m := r.open()
		for _, word := range list {
			r.suffer(word, rounds > 0)
		}
		for rounds > 0 && m.history.len() < enough && pause(t.Context(), time.Second) {
			t.Logf("%d operations yet", m.history.len())
		}
		m.close()
		if t.Failed() {
			return
		}
	}
}

// everything is every fault on every target.
func everything() []string {
	var list []string
	for name := range faults {
		for _, target := range targets {
			list = append(list, target+"/"+name)
		}
	}
	slices.Sort(list)
	return list
}

// suffer lets one fault happen and end, and checks that all is well afterwards.
func (r *rig) suffer(word string, long bool) {
	r.Helper()
	target, name, _ := strings.Cut(word, "/")
	f, ok := faults[name]
	if !ok {
		r.Fatalf("no fault %q", word)
	}
	m := r.target(target)
	if long {
		r.spread(m)
	}
	r.Logf("%s (%s)", word, m.Name)
	watch := r.watch(m)
	began := time.Now()
	if err := f.begin(r.Context(), m); err != nil {
		r.Fatalf("%s: %v", word, err)
	}
	if f.during != nil {
		f.during(r, target, m)
	}
	if !long {
		r.hold(shortFault)
	} else {
		r.hold(longFault)
		if f.leaves {
			limit := moveTime
			if name == "pause" {
				limit = pausedTime
			}
			r.await(limit-time.Since(began), word+": tasks do not move", func() error { return r.tasksRun(m) })
			r.Logf("its tasks run elsewhere after %v", time.Since(began).Round(100*time.Millisecond))
		}
	}
	// Not the test's own context: a machine must not stay broken when the test is over.
	if err := f.end(context.WithoutCancel(r.Context()), m); err != nil {
		r.Fatalf("end of %s: %v", word, err)
	}
	r.settle(settleTime)
	watch.stop()
	for _, fault := range watch.faults {
		r.Errorf("%s: %s", word, fault)
	}
}

// TestQuorumLost: with two of three managers gone, what runs goes on and answers, changes and reads are refused in Docker's
// words, and when one manager is back the swarm goes on by itself.
func TestQuorumLost(t *testing.T) {
	r := newRig(t, "10.99.82.0/24")
	left := r.target("follower")
	var lost []*playground.Machine
	for n := 1; n <= managers; n++ {
		if n != left.Number {
			lost = append(lost, r.machine(n))
		}
	}
	for _, m := range lost {
		if err := m.Off(); err != nil {
			t.Fatal(err)
		}
	}
	scale := func(to uint64) error { return r.scaleAt(left.Number, to) }
	r.await(20*time.Second, "changes are not refused", func() error { return wantNoLeader(scale(replicas + 1)) })
	workers := r.play.Machines()[managers:]
	runs := func() (n int) {
		for _, m := range workers {
			list, err := r.containers(m)
			if err != nil {
				t.Error(err)
			}
			n += len(list)
		}
		return n
	}
	before := runs()
	for range 3 {
		for _, m := range append(slices.Clone(workers), left) {
			r.answers(m)
		}
		if err := wantNoLeader(scale(replicas + 1)); err != nil {
			t.Error(err)
		}
	}
	if now := runs(); now != before || now == 0 {
		t.Errorf("%d containers ran on the workers, %d run now", before, now)
	}
	began := time.Now()
	if err := boot(t.Context(), lost[0]); err != nil {
		t.Fatal(err)
	}
	r.await(20*time.Second, "the swarm does not go on by itself", func() error { return scale(replicas) })
	t.Logf("a write is taken %v after the power is back", time.Since(began).Round(10*time.Millisecond))
	if err := boot(t.Context(), lost[1]); err != nil {
		t.Fatal(err)
	}
	r.settle(settleTime)
}

// wantNoLeader says whether a request was refused as one should be that no leader can take.
func wantNoLeader(err error) error {
	if err == nil {
		return errors.New("taken without a majority")
	}
	if !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), noLeader) {
		return fmt.Errorf("refused in other words: %w", err)
	}
	return nil
}

// answers asks the service's port of a machine until there is an answer. A connection may fall to a replica that was lost.
func (r *rig) answers(m *playground.Machine) {
	r.Helper()
	c := &http.Client{Timeout: 400 * time.Millisecond, Transport: &http.Transport{DisableKeepAlives: true, DialContext: r.play.Client().Dial}}
	r.await(20*time.Second, m.Name+" does not answer on the service's port", func() error {
		resp, err := c.Get(fmt.Sprintf("http://%s:8080/", m.Address))
		if err != nil {
			return err
		}
		return resp.Body.Close()
	})
}
