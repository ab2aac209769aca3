package sim

import (
	"bytes"
	"context"
	"sync"
	"time"

	"shoal/internal/ca"
	"shoal/internal/controlplane"
	"shoal/internal/dispatch"
	passes "shoal/internal/manager"
	"shoal/internal/rpc"
	"shoal/internal/store"
)

// manager is one run of a manager: its store, and while it leads the leader's loops, as the daemon runs them.
type manager struct {
	host     *host
	w        *world
	born     uint64
	store    *store.Store
	dispatch *dispatch.Dispatcher
	control  *controlplane.Control
	server   *rpc.Server
	ctx      context.Context
	cancel   context.CancelFunc
	running  sync.WaitGroup
	streams  []*stream

	dead       bool
	leads      bool      // the group told it so, and has not told it otherwise
	leading    bool      // its loops run
	term       uint64    // that it leads, or led last
	overthrown time.Time // by another leader, of whom it may not have heard
	lead       chan bool
	applied    int // entries of the log
	flying     *pending
	proposed   uint64
	changes    uint64            // of the group's members that it asked for
	probes     map[string]uint64 // by host
}

// startManager reads the disk and runs the manager. w.mu is held.
func (h *host) startManager(identity *ca.Identity) error {
	m := &manager{host: h, w: h.w, born: h.boots, lead: make(chan bool, 64), probes: map[string]uint64{}}
	m.ctx, m.cancel = context.WithCancel(h.w.ctx)
	m.store = store.NewWithClock(m.now)
	if h.snapshot != nil {
		if err := m.store.Restore(bytes.NewReader(h.snapshot)); err != nil {
			return err
		}
		m.applied = h.position
	}
	m.dispatch = dispatch.New(dispatch.Config{Store: m.store, Reach: m.reach, Now: m.now})
	place := seat{m: m}
	m.control = &controlplane.Control{Store: m.store, Members: place.status, MayDemote: place.mayLose}
	m.server = rpc.NewServer(rpc.Config{
		Identity: identity, Store: m.store, Group: func() rpc.Group { return seat{m: m, blind: h.w.lie == LieMember} }, Sessions: m.dispatch, Advertise: h.id + port, Now: m.now,
	})
	h.manager = m
	m.running.Go(m.run)
	return nil
}

// now is the clock of the manager's machine, for one run in five. It jumps with it, as time does for a process that was
// stopped for a while.
func (m *manager) now() time.Time { return time.Now().Add(m.skew()) }

func (m *manager) skew() time.Duration {
	return time.Duration(m.w.dice.roll(5, "manager skew"+m.host.id, m.born)/4) * m.host.ahead()
}

// run runs the leader's loops whenever this manager leads.
func (m *manager) run() {
	var stop func()
	end := func() {
		if stop != nil {
			stop()
			stop = nil
		}
	}
	defer end()
	for {
		select {
		case leads := <-m.lead:
			end()
			if leads {
				stop = m.takeLead()
			}
		case <-m.ctx.Done():
			return
		}
	}
}

func (m *manager) takeLead() (stop func()) {
	ctx, cancel := context.WithCancel(m.ctx)
	m.store.Lead(proposer{m})
	m.setLeading(true)
	var loops sync.WaitGroup
	loops.Go(func() { m.keep(ctx, m.dispatch.Run) })
	loops.Go(func() {
		m.keep(ctx, func(ctx context.Context) error {
			return passes.Lead(ctx, passes.Config{Store: m.store, Applied: m.dispatch.Applied, Moved: m.dispatch.AppliedMoved})
		})
	})
	loops.Go(func() {
		m.keep(ctx, func(ctx context.Context) error {
			return passes.Members(ctx, passes.MembersConfig{Store: m.store, Group: seat{m: m}, Self: m.host.id, Now: m.now})
		})
	})
	return func() {
		m.setLeading(false)
		m.store.Follow()
		cancel()
		loops.Wait()
	}
}

func (m *manager) setLeading(leads bool) {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	m.leading = leads
}

// keep runs a loop until ctx ends, again when it fails.
func (m *manager) keep(ctx context.Context, run func(context.Context) error) {
	for ctx.Err() == nil {
		run(ctx) //nolint:errcheck // the daemon logs it
		if pause(ctx, time.Second) != nil {
			return
		}
	}
}

// die ends the process at once; what its store has may be on the disk. w.mu is held.
func (m *manager) die() {
	m.dead, m.leads, m.leading = true, false, false
	for _, s := range m.streams {
		s.server.gone = true
	}
	h := m.host
	if m.w.dice.one(2, "snapshot"+h.id, m.born) {
		var b bytes.Buffer
		if _, err := m.store.Snapshot().WriteTo(&b); err != nil {
			m.w.fail("snapshot of %s: %v", h.id, err)
		}
		h.snapshot, h.position = b.Bytes(), m.applied
	}
}
