package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// MaxTransaction is how many bytes the changed objects of one transaction may encode to. Raft's log on disk takes
	// entries up to 64 MiB; the rest is left for sealing and framing.
	MaxTransaction = 48 << 20
	// maxBatch is how many bytes of transactions share an entry; the transaction that exceeds it is the last one.
	maxBatch = 1 << 20
)

// leadership is one term as the writer. One goroutine proposes batches, one at a time; while an entry is on its way the
// next batch fills (group commit).
type leadership struct {
	store    *Store
	proposer Proposer
	ctx      context.Context // ends with the leadership
	cancel   context.CancelFunc
	kick     chan struct{} // capacity 1: there is something to propose
	began    time.Time     // by the store's clock
	ahead    time.Duration // how far the newest transaction was ahead of that clock then

	mu      sync.Mutex // serialises transactions
	spec    *state     // applied state and everything that is waiting or on its way
	waiting []*batch   // not proposed yet; the last one may still be open
	flying  *batch     // proposed, not answered
	over    bool
}

// batch is the transactions that share an entry.
type batch struct {
	base   uint64
	at     time.Time
	txs    [][]wireChange
	events []Event
	size   int
	after  *state // the state with the batch applied; nil while the batch is open
	entry  []byte

	applied bool // guarded by Store.mu
	done    chan struct{}
	err     error // set before done is closed
}

// is says whether entry is this batch's, by identity: a proposer that copies makes Apply slower, not wrong.
func (b *batch) is(entry []byte) bool {
	return len(entry) == len(b.entry) && len(entry) > 0 && &entry[0] == &b.entry[0]
}

func newLeadership(s *Store, p Proposer) *leadership {
	ctx, cancel := context.WithCancel(context.Background())
	l := &leadership{store: s, proposer: p, ctx: ctx, cancel: cancel, kick: make(chan struct{}, 1), spec: s.applied.Load().fork(), began: s.clock()}
	l.ahead = max(0, l.spec.at.Sub(l.began))
	go l.run()
	return l
}

func (l *leadership) update(ctx context.Context, f func(*Tx) error) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	b, index, refusal := l.make(f)
	if b == nil {
		return index, refusal
	}
	select {
	case <-b.done:
		switch {
		case b.err == nil && refusal == nil:
			return index, nil
		case b.err == nil:
			return 0, refusal
		case refusal != nil && errors.Is(b.err, ErrOutcomeUnknown):
			return 0, ErrNotLeader // of what was before it nobody knows; of this one nothing was written
		}
		return 0, b.err
	case <-ctx.Done():
		return 0, fmt.Errorf("%w: %w", ErrOutcomeUnknown, ctx.Err())
	}
}

// make runs f and returns the batch to wait for, nil if there is none, and the transaction's index. An error of f has to wait
// too: it may come of a write that is not committed yet, and telling it would be telling of that write.
func (l *leadership) make(f func(*Tx) error) (*batch, uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over || l.ctx.Err() != nil {
		return nil, 0, ErrNotLeader
	}
	l.refresh()
	tx := &Tx{state: l.spec, now: l.later(l.now())}
	finished := false
	defer func() {
		if !finished { // an error, or a panic of f
			tx.undo()
		}
	}()
	if err := f(tx); err != nil {
		return l.newest(), 0, err
	}
	changes := tx.settle()
	if len(changes) == 0 {
		finished = true
		return l.newest(), l.spec.index, nil
	}
	wire, size, err := encodeChanges(changes)
	if err != nil {
		return nil, 0, err
	}
	finished = true
	return l.append(tx.now, changes, wire, size), l.spec.index, nil
}

// refresh starts again from the applied state if somebody else's entry has moved it.
func (l *leadership) refresh() {
	if l.newest() != nil {
		return
	}
	if now := l.store.applied.Load(); now.index != l.spec.index {
		l.spec = now.fork()
	}
}

// newest is the batch with the newest transaction that is not answered.
func (l *leadership) newest() *batch {
	if n := len(l.waiting); n > 0 {
		return l.waiting[n-1]
	}
	return l.flying
}

// append adds a transaction to the open batch, and opens one if there is none.
func (l *leadership) append(now time.Time, changes []rowChange, wire []wireChange, size int) *batch {
	var b *batch
	if n := len(l.waiting); n > 0 && l.waiting[n-1].size < maxBatch {
		b = l.waiting[n-1]
	} else {
		if n > 0 {
			l.close(l.waiting[n-1])
		}
		b = &batch{base: l.spec.index, done: make(chan struct{})}
		l.waiting = append(l.waiting, b)
	}
	l.spec.index++
	l.spec.at = now
	b.at = now
	b.size += size
	b.txs = append(b.txs, wire)
	b.events = append(b.events, event(l.spec.index, changes))
	if b.size >= maxBatch {
		l.close(b)
	}
	select {
	case l.kick <- struct{}{}:
	default:
	}
	return b
}

// close ends the filling of b, whose transactions are the newest in the speculative state.
func (l *leadership) close(b *batch) {
	if b.after == nil {
		b.after = l.spec.freeze()
	}
}

func (l *leadership) run() {
	for {
		select {
		case <-l.ctx.Done():
			l.end()
			return
		case <-l.kick:
		}
		for b := l.next(); b != nil; b = l.next() {
			l.propose(b)
		}
	}
}

// now is the cluster's time. A leader whose clock is behind that of the leaders before it goes on from their time, at half
// the speed of its clock until that has caught up.
func (l *leadership) now() time.Time {
	t := l.store.clock()
	return t.Add(max(0, l.ahead-t.Sub(l.began)/2)).UTC()
}

// later is t, or the moment after the newest transaction: no two are of one instant.
func (l *leadership) later(t time.Time) time.Time {
	if t.After(l.spec.at) {
		return t
	}
	return l.spec.at.Add(1)
}

// next takes the oldest waiting batch.
func (l *leadership) next() *batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 || l.ctx.Err() != nil {
		return nil
	}
	b := l.waiting[0]
	l.waiting[0] = nil
	l.waiting = l.waiting[1:]
	l.close(b)
	l.flying = b
	return b
}

func (l *leadership) propose(b *batch) {
	entry, err := encodeEntry(b)
	if err == nil {
		b.entry = entry
		l.store.fly(b)
		err = l.proposer.Propose(l.ctx, entry)
		if l.store.land(b) {
			err = nil
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flying = nil
	if err == nil {
		close(b.done)
		return
	}
	b.err = outcome(err)
	close(b.done)
	// What waited was made on a state that will not come to be.
	if errors.Is(b.err, ErrOutcomeUnknown) {
		l.drop(ErrNotLeader)
	} else {
		l.drop(b.err)
	}
	l.spec = l.store.applied.Load().fork()
}

// outcome says what a proposal's error means for the writes in it.
func outcome(err error) error {
	switch {
	case errors.Is(err, ErrOutcomeUnknown), errors.Is(err, ErrNotLeader):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
	case errors.Is(err, ErrStale):
		return fmt.Errorf("%w: %w", ErrNotLeader, err)
	}
	return err
}

// drop answers all that waits.
func (l *leadership) drop(err error) {
	for _, b := range l.waiting {
		b.err = err
		close(b.done)
	}
	l.waiting = nil
}

func (l *leadership) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	l.drop(ErrNotLeader)
}

// fly says that b's entry may come to Apply from now on.
func (s *Store) fly(b *batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inflight = b
}

// land ends that and says whether it has come.
func (s *Store) land(b *batch) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inflight == b {
		s.inflight = nil
	}
	return b.applied
}
