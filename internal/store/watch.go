package store

import (
	"context"
	"iter"
	"sync"
)

// Event is one transaction as it was applied.
type Event struct {
	Index   uint64
	Changes []Change
}

// Change is what a transaction did to one object: Old is nil for one that is new, New for one that is gone. Both are
// pointers to the table's type, shared and immutable.
type Change struct {
	Table    string
	Old, New any
}

// Bounds of the history: the newest transactions, of not more than about so many changes in all.
const (
	maxEvents  = 4096
	maxChanges = 1 << 18
)

// history is the newest transactions, for watchers. Every watcher has its own place in it; a slow one keeps nothing
// from being dropped.
type history struct {
	mu      sync.Mutex
	ring    [maxEvents]Event // of index i at i % maxEvents
	first   uint64           // the oldest that is kept; next when none is
	next    uint64           // the index that comes next, 0: not known yet, as nothing has been applied
	changes int
	epoch   uint64        // counts restores
	wake    chan struct{} // closed by the next change; nil: nobody waits
}

func (h *history) add(events []Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range events {
		if h.next == 0 {
			h.first, h.next = e.Index, e.Index
		}
		h.ring[e.Index%maxEvents] = e
		h.next = e.Index + 1
		h.changes += len(e.Changes)
		// One slot less than there are is used, so that the slot of the next event is always free.
		for h.next-h.first >= maxEvents || (h.changes > maxChanges && h.next-h.first > 1) {
			h.changes -= len(h.ring[h.first%maxEvents].Changes)
			h.ring[h.first%maxEvents] = Event{}
			h.first++
		}
	}
	h.notify()
}

// reset forgets everything: the state at index has come from a snapshot.
func (h *history) reset(index uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ring = [maxEvents]Event{}
	h.first, h.next, h.changes = index+1, index+1, 0
	h.epoch++
	h.notify()
}

func (h *history) notify() {
	if h.wake != nil {
		close(h.wake)
		h.wake = nil
	}
}

// chunk is how many events a watcher takes at a time.
const chunk = 64

// read returns the next events after the index, or a channel that is closed when there may be some.
func (h *history) read(after, epoch uint64, buf []Event) (events []Event, wait <-chan struct{}, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if epoch != h.epoch || (h.next != 0 && after+1 < h.first) {
		return nil, nil, ErrBehind
	}
	for i := after + 1; i < h.next && len(buf) < cap(buf); i++ {
		buf = append(buf, h.ring[i%maxEvents])
	}
	if len(buf) > 0 {
		return buf, nil, nil
	}
	if h.wake == nil {
		h.wake = make(chan struct{})
	}
	return nil, h.wake, nil
}

func (h *history) now() (epoch uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.epoch
}

// Watch yields the applied transactions in order, from the one after that index, and waits for more until ctx is done;
// then the sequence just ends. Take the index from a [View] and no change is missed between the two.
//
// ErrBehind, the last thing yielded, says that the next transaction is no longer kept (the reader was too slow, or the
// state has come from a snapshot): start again from a View. A watcher never holds up a writer.
func (s *Store) Watch(ctx context.Context, after uint64) iter.Seq2[Event, error] {
	epoch := s.history.now()
	return func(yield func(Event, error) bool) {
		buf := make([]Event, 0, chunk)
		for ctx.Err() == nil {
			events, wait, err := s.history.read(after, epoch, buf)
			if err != nil {
				yield(Event{}, err)
				return
			}
			for i, e := range events {
				if ctx.Err() != nil || !yield(e, nil) {
					return
				}
				after = e.Index
				events[i] = Event{}
			}
			if wait == nil {
				continue
			}
			select {
			case <-wait:
			case <-ctx.Done():
			}
		}
	}
}
