package manager

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// wakeups holds which services to look at, now or at a time. The watcher fills it, the pass loop empties it.
type wakeups struct {
	ready chan struct{} // holds one token while something is due now

	mu      sync.Mutex
	now     map[string]struct{}
	at      map[string]time.Time
	settled map[string]struct{} // services that need no look when their tasks come nearer to running
}

func newWakeups() *wakeups {
	return &wakeups{ready: make(chan struct{}, 1), now: map[string]struct{}{}, at: map[string]time.Time{}, settled: map[string]struct{}{}}
}

// mark makes services due now.
func (w *wakeups) mark(ids ...string) {
	if len(ids) == 0 {
		return
	}
	w.mu.Lock()
	for _, id := range ids {
		w.now[id] = struct{}{}
	}
	w.mu.Unlock()
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

// progress makes services due now whose tasks have come nearer to running, unless they are settled.
func (w *wakeups) progress(ids []string) {
	var due []string
	w.mu.Lock()
	for _, id := range ids {
		if _, settled := w.settled[id]; !settled {
			due = append(due, id)
		}
	}
	w.mu.Unlock()
	w.mark(due...)
}

// settle notes whether services are settled, by the plan that is about to be committed: before the commit, since the
// progress of tasks that it starts must not be missed.
func (w *wakeups) settle(services map[string]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, settled := range services {
		if settled {
			w.settled[id] = struct{}{}
		} else {
			delete(w.settled, id)
		}
	}
}

// later replaces the time at which a service is due; zero: none.
func (w *wakeups) later(id string, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if at.IsZero() {
		delete(w.at, id)
	} else {
		w.at[id] = at
	}
}

// take removes and returns what is due at now, in order of ID.
func (w *wakeups) take(now time.Time) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, at := range w.at {
		if !at.After(now) {
			w.now[id] = struct{}{}
			delete(w.at, id)
		}
	}
	ids := slices.Sorted(maps.Keys(w.now))
	clear(w.now)
	return ids
}

// next is the earliest time at which a service is due; zero when none waits.
func (w *wakeups) next() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	var first time.Time
	for _, at := range w.at {
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first
}
