package sim

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"shoal/internal/store"
)

// group stands for the managers' consensus: a log of committed entries and who leads. It gives what Raft promises (one
// order, nothing committed is lost, a leader has every committed entry before it leads) and no more: commits take time,
// a leader that lost its majority may not know it for a while, and what it had proposed may be in the next leader's log
// or not. It goes further than Raft in one thing: an entry may come once more, late, for the store's own fence to refuse.
type group struct {
	w       *world
	log     []logged
	term    uint64
	leader  string          // empty: none was elected yet
	members map[string]bool // host IDs; true: it votes
	stale   [][]byte        // entries that come a second time, late
	lost    time.Time
	events  uint64 // counts elections and losses
}

// logged is one committed entry.
type logged struct {
	entry   []byte
	applied bool  // by some manager
	err     error // which applying it gave
}

// pending is the one entry that a manager has proposed and not been answered.
type pending struct {
	entry   []byte
	decided bool // committed, or lost for good
	answer  chan error
}

func newGroup(w *world) *group { return &group{w: w, members: map[string]bool{}} }

// hears says whether what is committed comes to a manager by itself.
func (g *group) hears(h *host) bool {
	_, member := g.members[h.id]
	return member && g.w.net.both(h.id, g.leader)
}

// Bounds of the consensus.
const (
	groupTick  = 100 * time.Millisecond
	electLeast = 300 * time.Millisecond
	electMost  = 1500 * time.Millisecond
	leaseMost  = 2500 * time.Millisecond // longer than an election may take: an old leader may not know yet
)

// run looks after the group until the world ends.
func (g *group) run(ctx context.Context) {
	for k := uint64(0); pause(ctx, groupTick) == nil; k++ {
		g.w.mu.Lock()
		g.look()
		for i, h := range g.w.hosts {
			if m := h.manager; m != nil && m.applied < len(g.log) && g.hears(h) && g.w.dice.one(3, "catch up", k*8+uint64(i)) {
				g.catchUp(m)
			}
		}
		g.w.mu.Unlock()
	}
}

// look has a leader step down or a new one elected when that is due.
func (g *group) look() {
	var old *manager
	for _, h := range g.w.hosts {
		switch m := h.manager; {
		case h.id == g.leader:
			old = m
		case m != nil && m.leads && (g.w.net.both(h.id, g.leader) || time.Since(m.overthrown) > g.w.dice.between(0, leaseMost, "stale", m.term)):
			g.stepDown(m)
		}
	}
	if old != nil && old.leads && g.majority(old.host) {
		g.lost = time.Time{}
		return
	}
	if g.lost.IsZero() {
		g.lost = time.Now()
		g.events++
	}
	since := time.Since(g.lost)
	if old != nil && old.leads && since > g.w.dice.between(0, leaseMost, "lease", g.events) {
		g.stepDown(old)
	}
	if since < g.w.dice.between(electLeast, electMost, "election", g.events) {
		return
	}
	able := g.able(old)
	if old != nil && !old.leads && g.members[old.host.id] && g.majority(old.host) {
		able = append(able, old)
	}
	if len(able) > 0 {
		g.elect(able[g.w.dice.roll(uint64(len(able)), "candidate", g.events)])
	}
}

// able are the managers that can win an election, one left out.
func (g *group) able(without *manager) (list []*manager) {
	for _, h := range g.w.hosts {
		if h.manager != nil && h.manager != without && g.members[h.id] && g.majority(h) {
			list = append(list, h.manager)
		}
	}
	return list
}

// majority says whether a manager reaches, and is reached by, more than half of the voters, itself included.
func (g *group) majority(h *host) bool {
	all, have := 0, 0
	for _, other := range g.w.hosts {
		if !g.members[other.id] {
			continue
		}
		all++
		if other.manager != nil && (other == h || g.w.net.both(h.id, other.id)) {
			have++
		}
	}
	return 2*have > all
}

// elect makes m the leader. What earlier leaders had proposed is decided now.
func (g *group) elect(m *manager) {
	g.term++
	g.events++
	for i, h := range g.w.hosts {
		p := h.pending
		if p == nil {
			continue
		}
		if h.pending = nil; h == m.host || g.w.dice.one(2, "carried", g.events*16+uint64(i)) {
			g.w.note("an entry of %s is carried over", h.id)
			g.append(p.entry)
			if g.w.dice.one(2, "again", g.events*16+uint64(i)) {
				g.stale = append(g.stale, bytes.Clone(p.entry))
			}
		}
		p.decided = true
	}
	if h := g.w.host(g.leader); h != nil && h.manager != nil && h.manager != m && h.manager.leads {
		h.manager.overthrown = time.Now() // and will hear of it
	}
	g.leader, g.lost = m.host.id, time.Time{}
	g.catchUp(m)
	g.w.note("%s leads term %d from entry %d, index %d", m.host.id, g.term, len(g.log), m.store.Index())
	g.w.rules.newLeader(m)
	m.leads, m.term = true, g.term
	m.lead <- true
}

// stepDown has m lead no more.
func (g *group) stepDown(m *manager) {
	if !m.leads {
		return
	}
	g.w.note("%s steps down", m.host.id)
	m.leads = false
	if p := m.flying; p != nil {
		p.answer <- fmt.Errorf("%w: stepped down", store.ErrOutcomeUnknown)
		m.flying = nil
	}
	m.lead <- false
}

func (g *group) append(entry []byte) { g.log = append(g.log, logged{entry: entry}) }

// catchUp applies all committed entries that m lacks, if it can hear of them.
func (g *group) catchUp(m *manager) {
	for m.applied < len(g.log) {
		if g.w.lie == LieApplied && g.w.dice.one(30, "lie "+m.host.id, uint64(m.applied)) {
			m.applied++
			continue
		}
		l := &g.log[m.applied]
		entry := l.entry
		if g.w.dice.one(2, "copy", uint64(m.applied)) {
			entry = bytes.Clone(entry)
		}
		err := m.store.Apply(entry)
		if l.applied && fmt.Sprint(err) != fmt.Sprint(l.err) {
			g.w.fail("entry %d applied with %v on one manager, with %v on %s", m.applied, l.err, err, m.host.id)
		}
		l.applied, l.err = true, err
		m.applied++
		g.w.rules.applied(m.store)
	}
}

// follow brings an entry to the managers that do not lead, each in its own time.
func (g *group) follow(from *manager) {
	for i, h := range g.w.hosts {
		m := h.manager
		if m == nil || m == from {
			continue
		}
		time.AfterFunc(g.w.dice.delay(20*time.Millisecond, time.Second, "follow", uint64(len(g.log))*16+uint64(i)), func() {
			g.w.mu.Lock()
			defer g.w.mu.Unlock()
			if !m.dead && g.hears(h) {
				g.catchUp(m)
			}
		})
	}
}

// proposer is one manager process's way into the log.
type proposer struct{ m *manager }

// Propose commits an entry while m leads with a majority.
func (p proposer) Propose(ctx context.Context, entry []byte) error {
	m, g, w := p.m, p.m.w.group, p.m.w
	w.mu.Lock()
	if m.dead || !m.leads || g.leader != m.host.id {
		w.mu.Unlock()
		return store.ErrNotLeader
	}
	if m.host.pending != nil {
		w.fail("%s proposes an entry before the one before is answered", m.host.id)
	}
	one := &pending{entry: entry, answer: make(chan error, 1)}
	m.host.pending, m.flying = one, one
	m.proposed++
	timer := time.NewTimer(w.dice.delay(10*time.Millisecond, 500*time.Millisecond, "commit "+m.host.id, m.proposed+m.born<<32))
	w.mu.Unlock()
	defer timer.Stop()
	for {
		select {
		case err := <-one.answer:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		if done, err := p.commit(one); done {
			return err
		}
		timer.Reset(20 * time.Millisecond)
	}
}

// commit puts the entry into the log, if m may.
func (p proposer) commit(one *pending) (done bool, err error) {
	m, g, w := p.m, p.m.w.group, p.m.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if one.decided || m.dead || !m.leads || g.leader != m.host.id || !g.majority(m.host) {
		return false, nil
	}
	one.decided, m.host.pending, m.flying = true, nil, nil
	if w.lie == LieCommitted && w.dice.one(8, "lie", m.proposed) {
		return true, nil
	}
	err = g.take(m, one.entry)
	if len(g.stale) > 0 && w.dice.one(4, "late", uint64(len(g.log))) {
		late := g.stale[0]
		g.stale = g.stale[1:]
		w.note("an entry of an earlier leader comes late: %v", g.take(m, late))
	}
	g.follow(m)
	return true, err
}

// take commits an entry and has the leader apply it.
func (g *group) take(m *manager, entry []byte) error {
	g.append(slices.Clip(entry))
	if m.applied != len(g.log)-1 {
		g.w.fail("%s leads without entry %d", m.host.id, m.applied)
	}
	l := &g.log[m.applied]
	l.err, l.applied = m.store.Apply(entry), true
	m.applied++
	g.w.rules.applied(m.store)
	return l.err
}
