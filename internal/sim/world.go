package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing/synctest"
	"time"

	"shoal/internal/store"
)

// Config says what to run.
type Config struct {
	Seed uint64
	// Story keeps what happened, line by line.
	Story bool
	// Lie is a promise that the simulated parts break, for tests that the rules notice; empty: none.
	Lie Lie
}

// Lie is a promise that is broken now and then.
type Lie string

// Lies.
const (
	LieCommitted Lie = "an entry is called committed and is not"
	LieApplied   Lie = "a follower leaves out an entry"
	LieStopped   Lie = "a container is called stopped and runs on"
	LieMember    Lie = "a voter is told that it has no vote"
	LieVote      Lie = "a manager is told that it votes and does not"
	LieRemoved   Lie = "a manager is called out of the group and is not"
	LieRenewed   Lie = "a new certificate is for the role of before"
)

// Outcome is what a run came to.
type Outcome struct {
	Story   []string
	Entries int           // in the replicated log
	Writes  int           // that clients were told are made
	Time    time.Duration // simulated
}

// world is one run. Its mutex guards everything in it; nothing waits while it is held.
type world struct {
	dice  dice
	rand  *rand.Rand // of the driver alone
	began time.Time
	story bool
	lie   Lie
	ctx   context.Context // ends with the run

	mu         sync.Mutex
	err        error // the first rule that was broken
	lines      []string
	hosts      []*host
	group      *group
	rules      *rules
	net        wires
	client     *client
	authority  authority
	calm       bool // no faults any more
	rebalances bool // some services want to be spread again
	longLived  bool // the run is longer than half the life of a certificate
	joined     int  // hosts that ever were
	written    int
	renewed    int // certificates
}

// Run lives through one seed and returns the first rule that was broken. Call it inside a synctest bubble, which must be
// the only one on its processor for a run to be repeatable.
func Run(cfg Config) (Outcome, error) {
	ctx, cancel := context.WithCancel(context.Background())
	over := time.AfterFunc(runTime, func() { panic(fmt.Sprintf("seed %d is not over after %s of its own time", cfg.Seed, runTime)) })
	defer over.Stop()
	w := &world{
		dice: dice(mix(cfg.Seed + 1)), rand: rand.New(rand.NewPCG(cfg.Seed, 0x5ea1)), began: time.Now(), story: cfg.Story, lie: cfg.Lie, ctx: ctx,
	}
	w.net = newWires()
	w.authority.open(w)
	w.group = newGroup(w)
	w.rules = newRules(w)
	w.client = newClient(w)
	w.boot()
	w.live()
	if w.fault() == nil {
		w.rest()
	}
	cancel()
	w.end()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return Outcome{Story: w.lines, Entries: len(w.group.log), Writes: w.written, Time: time.Since(w.began)}, w.err
}

// runTime bounds a run: what is left then would never end.
const runTime = 3 * time.Hour

// live has things happen, one after the other.
func (w *world) live() {
	steps := 15 + w.rand.IntN(35)
	for i := range steps {
		if w.longLived && i == steps/2 {
			w.wait(certificateLife * 3 / 5)
		}
		w.wait(time.Duration(w.rand.Int64N(int64([]time.Duration{100 * time.Millisecond, time.Second, 5 * time.Second}[w.rand.IntN(3)]))))
		w.act()
		synctest.Wait()
		if w.check() != nil {
			return
		}
	}
}

// wait lets time pass and all that is due happen.
func (w *world) wait(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// end stops every process.
func (w *world) end() {
	w.mu.Lock()
	hosts := w.hosts
	w.mu.Unlock()
	for _, h := range hosts {
		h.kill(false)
	}
}

// fail notes that a rule is broken; the first one counts. w.mu is held.
func (w *world) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("at %s: "+format, append([]any{time.Since(w.began)}, args...)...)
		w.note("BROKEN "+format, args...)
	}
}

func (w *world) fault() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// note adds a line to the story; w.mu is held.
func (w *world) note(format string, args ...any) {
	if w.story {
		w.lines = append(w.lines, fmt.Sprintf("%12.6f ", time.Since(w.began).Seconds())+fmt.Sprintf(format, args...))
	}
}

// pause waits; it returns early with an error when ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// host finds one by its ID; nil: none. w.mu is held.
func (w *world) host(id string) *host {
	for _, h := range w.hosts {
		if h.id == id {
			return h
		}
	}
	return nil
}

// leader is the manager that leads, in its own eyes and in the group's; nil: none. w.mu is held.
func (w *world) leader() *manager {
	if h := w.host(w.group.leader); h != nil && h.manager != nil && h.manager.leads {
		return h.manager
	}
	return nil
}

// view is the newest state that any manager has. w.mu is held.
func (w *world) view() store.View {
	var newest store.View
	found := false
	for _, h := range w.hosts {
		if h.manager == nil {
			continue
		}
		if v := h.manager.store.View(); !found || v.Index() > newest.Index() {
			newest, found = v, true
		}
	}
	if !found {
		return store.New().View()
	}
	return newest
}
