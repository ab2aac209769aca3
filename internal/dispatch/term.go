package dispatch

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// Changes are gathered for gatherTime before sessions hear of them. While many come, they are gathered for as long as it
// takes to tell those that the last ones concerned, sessionTime each.
const (
	gatherTime  = 2 * time.Millisecond
	sessionTime = 200 * time.Microsecond
)

// term is one time of leading: everything that ends with it.
type term struct {
	dispatcher *Dispatcher
	store      *store.Store
	reports    *reports
	world      atomic.Pointer[world]
	moved      chan struct{} // holds one token: Applied may have moved
	ctx        context.Context

	mu      sync.Mutex
	over    bool
	members map[string]*member // by node ID
	looked  uint64             // all changes up to it have been marked in the members' progress
	running sync.WaitGroup     // sessions
}

// member is a node in this term.
type member struct {
	beat     beat
	session  *session // nil: none now
	ready    bool     // it had one, and is not down
	down     bool     // written so, by this term or before it
	networks []string // that its data plane was told of
	progress progress
}

func newTerm(ctx context.Context, d *Dispatcher) *term {
	t := &term{
		dispatcher: d, store: d.config.Store, ctx: ctx,
		moved: make(chan struct{}, 1), members: map[string]*member{},
	}
	t.reports = newReports(d.config)
	return t
}

// end closes all sessions and waits for them.
func (t *term) end() {
	t.mu.Lock()
	t.over = true
	for _, m := range t.members {
		if m.session != nil {
			m.session.cancel(errNotLeading)
		}
	}
	t.mu.Unlock()
	t.running.Wait()
}

// watch follows the store and makes worlds of it.
func (t *term) watch(ctx context.Context) error {
	touched := newTouched()
	for ctx.Err() == nil {
		view := t.store.View()
		touched.restart(view)
		t.meet(view)
		t.publish(touched, view, view.Index())
		if err := t.follow(ctx, touched, view.Index()); !errors.Is(err, store.ErrBehind) {
			return err
		}
	}
	return ctx.Err()
}

// follow publishes a world for every few changes, until the watch falls behind or ctx ends.
func (t *term) follow(ctx context.Context, touched *touched, index uint64) error {
	ctx, cancel := context.WithCancel(ctx)
	events := make(chan store.Event)
	var failed error
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		defer close(events)
		for e, err := range t.store.Watch(ctx, index) {
			if failed = err; err != nil {
				return
			}
			select {
			case events <- e:
			case <-ctx.Done():
				return
			}
		}
	})
	timer := time.NewTimer(0)
	<-timer.C
	waits := false
	var next time.Time // not before it are sessions told of something again
	for {
		select {
		case e, ok := <-events:
			if !ok {
				if failed != nil {
					return failed
				}
				return ctx.Err()
			}
			index = e.Index
			touched.event(t.store.View(), e)
			t.joinedOrLeft(e)
			if !waits {
				timer.Reset(max(gatherTime, time.Until(next)))
				waits = true
			}
		case <-timer.C:
			waits = false
			told := t.publish(touched, t.store.View(), index)
			next = time.Now().Add(time.Duration(told) * sessionTime)
		case <-t.moved:
			t.recount()
		}
	}
}

// publish makes the world after what was touched, and wakes the sessions that it concerns, which it counts.
func (t *term) publish(touched *touched, view store.View, index uint64) (told int) {
	c := touched.take()
	old := t.world.Load()
	if old == nil {
		old = &world{turns: newTurns()}
	}
	t.world.Store(old.next(view, index, &c, touched.published))
	t.mu.Lock()
	if !c.none() {
		for id, m := range t.members {
			if m.concerned(id, &c) {
				m.progress.mark(t.looked)
				if m.session != nil {
					m.session.kick()
					told++
				}
			}
		}
	}
	t.looked = index
	t.mu.Unlock()
	t.recount()
	return told
}

func (m *member) concerned(id string, c *changes) bool {
	if c.all || c.managers || c.cluster || c.everyone || c.ports || c.sets[id] || (c.nodes && len(m.networks) > 0) {
		return true
	}
	for _, n := range m.networks {
		if c.networks[n] || c.endpoints[n] != nil {
			return true
		}
	}
	return false
}

// recount works out Applied.
func (t *term) recount() {
	t.mu.Lock()
	index := t.looked
	for _, m := range t.members {
		if m.ready {
			index = min(index, m.progress.at(t.looked))
		}
	}
	t.mu.Unlock()
	t.dispatcher.setApplied(t, index)
}

// progressed notes something in a node's progress.
func (t *term) progressed(nodeID string, f func(*member)) {
	t.mu.Lock()
	if m := t.members[nodeID]; m != nil {
		f(m)
	}
	t.mu.Unlock()
	select {
	case t.moved <- struct{}{}:
	default:
	}
}

// meet makes members of all nodes; those that are not down are waited for from now on.
func (t *term) meet(r store.Reader) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for n := range store.Nodes.All(r) {
		t.member(n)
	}
	for id := range t.members {
		if store.Nodes.Get(r, id) == nil {
			t.dismiss(id)
		}
	}
}

func (t *term) member(n *cluster.Node) {
	if t.members[n.ID] == nil {
		t.members[n.ID] = &member{beat: beat{last: t.dispatcher.config.Now()}, down: n.Status.State == swarm.NodeStateDown}
	}
}

func (t *term) dismiss(id string) {
	if m := t.members[id]; m != nil && m.session != nil {
		m.session.cancel(errRemoved)
	}
	delete(t.members, id)
}

// joinedOrLeft keeps the members those of the store.
func (t *term) joinedOrLeft(e store.Event) {
	for _, c := range e.Changes {
		if c.Table != store.Nodes.Name() {
			continue
		}
		t.mu.Lock()
		if n := as[cluster.Node](c.New); n != nil {
			t.member(n)
		} else {
			t.dismiss(as[cluster.Node](c.Old).ID)
		}
		t.mu.Unlock()
	}
}

func (t *term) sessionOf(nodeID string) *session {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m := t.members[nodeID]; m != nil {
		return m.session
	}
	return nil
}

func (t *term) period() time.Duration {
	if w := t.world.Load(); w != nil {
		return w.period
	}
	return DefaultPeriod
}
