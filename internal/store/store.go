package store

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Store holds the applied state, and while it leads, the speculative state that transactions are made on.
type Store struct {
	applied atomic.Pointer[state]
	history history
	lead    atomic.Pointer[leadership] // nil: follower
	clock   func() time.Time

	mu       sync.Mutex // serialises changes of the applied state
	inflight *batch     // guarded by mu; this node's entry that has been proposed and not yet answered
}

// New returns an empty store at index 0, a follower.
func New() *Store { return NewWithClock(time.Now) }

// NewWithClock returns an empty store whose transactions have their times from another clock than time.Now.
func NewWithClock(now func() time.Time) *Store {
	s := &Store{clock: now}
	s.applied.Store(newState())
	return s
}

// View returns the applied state. It takes no lock, never changes, and may be kept.
func (s *Store) View() View { return View{s.applied.Load()} }

// Index is the index of the newest applied transaction.
func (s *Store) Index() uint64 { return s.applied.Load().index }

// Proposer carries entries to Apply on every manager, all in the same order.
type Proposer interface {
	// Propose returns nil when this node has applied the entry. The store has at most one call under way.
	// After ErrNotLeader or any other error the entry is not applied and never will be, with two exceptions where it may
	// have been or may yet be: ErrOutcomeUnknown, and the error of ctx.
	Propose(ctx context.Context, entry []byte) error
}

// Lead makes this store the writer. Call it when all committed entries have been applied here and p takes entries.
// It ends an earlier leadership as Follow does.
func (s *Store) Lead(p Proposer) {
	if old := s.lead.Swap(newLeadership(s, p)); old != nil {
		old.cancel()
	}
}

// Follow ends this store's time as the writer, without waiting: Updates that have not been proposed return
// ErrNotLeader, one that is on its way ErrOutcomeUnknown unless it is applied first.
func (s *Store) Follow() {
	if old := s.lead.Swap(nil); old != nil {
		old.cancel()
	}
}

// Update runs f once, proposes its writes as one transaction, and returns its index after the commit, when View shows
// it. f sees every earlier transaction, those still on their way too. Calls of f never overlap: f must be quick and must
// not call Update.
//
// If f fails, nothing is written and its error is returned. If f writes nothing, Update waits until what f has read is
// committed. After ErrOutcomeUnknown the writes may or may not be in, now or later: read before you try again. After any
// other error (ErrNotLeader, ErrTooLarge, what the proposer says) they are not and never will be.
func (s *Store) Update(ctx context.Context, f func(*Tx) error) (index uint64, err error) {
	l := s.lead.Load()
	if l == nil {
		return 0, ErrNotLeader
	}
	return l.update(ctx, f)
}

// Now is the cluster's time as the leader has it: what Tx.Now would be. It never goes back, whoever leads and however
// wrong the managers' clocks are; on a follower it is this machine's own.
func (s *Store) Now() time.Time {
	l := s.lead.Load()
	if l == nil {
		return s.clock().UTC()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.later(l.now())
}

// Apply applies an entry that is committed. Every manager calls it with the same entries in the same order, from one
// goroutine. After an error nothing has changed; the error is the same on every manager: ErrStale for an entry made on
// another index, anything else for one that no store of this version has made.
func (s *Store) Apply(entry []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.applied.Load()
	if b := s.inflight; b != nil && b.is(entry) {
		// Our own: what it leads to has been made already.
		if b.base != now.index {
			return ErrStale
		}
		b.applied = true
		s.publish(b.after, b.events)
		return nil
	}
	e, err := decodeEntry(entry, now)
	if err != nil {
		return err
	}
	next, events := e.applyTo(now)
	s.publish(next, events)
	return nil
}

// publish makes next the applied state; s.mu is held. The state comes first: who hears of an index can view it.
func (s *Store) publish(next *state, events []Event) {
	s.applied.Store(next)
	s.history.add(events)
}
