package manager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/reconcile"
	"shoal/internal/store"
)

// Config says what a manager works with. Log may be nil; all else must be set.
type Config struct {
	Store *store.Store
	// Applied is the lowest index of the network state that all READY nodes have applied.
	Applied func() uint64
	// Moved returns a channel that is closed when Applied changes.
	Moved func() <-chan struct{}
	Log   *slog.Logger
}

// Manager runs passes while its node leads.
type Manager struct {
	cfg  Config
	log  *slog.Logger
	wake *wakeups
	// starved are services with tasks that found no node or no address: a free place anywhere is news to them.
	starved map[string]struct{}
	// draining are services with tasks that have left load balancing and wait for the nodes to say so.
	draining map[string]struct{}
}

// retryAfter is how long a failed commit waits before the next try.
const retryAfter = time.Second

func newManager(cfg Config) *Manager {
	m := &Manager{
		cfg: cfg, log: cfg.Log, wake: newWakeups(),
		starved: map[string]struct{}{}, draining: map[string]struct{}{},
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	return m
}

// Lead runs passes until ctx ends or this node may not write any more. Each call starts from nothing but the store.
func Lead(ctx context.Context, cfg Config) error {
	m := newManager(cfg)
	ctx, cancel := context.WithCancel(ctx)
	watching := make(chan error, 1)
	go func() { watching <- m.watch(ctx) }()
	err := m.run(ctx)
	cancel()
	return errors.Join(err, <-watching)
}

// watch turns changes of the store into services to look at. It ends with ctx.
func (m *Manager) watch(ctx context.Context) error {
	for {
		v := m.cfg.Store.View()
		m.wake.mark(everything(v)...)
		for ev, err := range m.cfg.Store.Watch(ctx, v.Index()) {
			if errors.Is(err, store.ErrBehind) {
				break // look at everything again
			}
			if err != nil {
				return ctxOr(ctx, err)
			}
			a := affected(m.cfg.Store.View(), ev)
			m.wake.mark(a.services...)
			m.wake.progress(a.progress)
			if a.room {
				m.wake.mark(starving)
			}
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// starving stands for "all services that wait for room" among the IDs to look at; no ID looks like it.
const starving = "?"

// run is the loop: wait for something to do, do it, remember when to look again.
func (m *Manager) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	moved := m.cfg.Moved()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-m.wake.ready:
		case <-moved:
			moved = m.cfg.Moved() // before Applied is read, so that no change is missed
			for id := range m.draining {
				m.wake.mark(id)
			}
		case <-timer.C:
		}
		began := time.Now()
		if err := m.once(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, store.ErrNotLeader) {
				return err
			}
			m.log.Error("pass failed, will try again", "error", err)
		}
		if !m.rest(ctx, time.Since(began)) {
			return nil
		}
		if at := m.wake.next(); at.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(max(leastWait, at.Sub(m.cfg.Store.Now())))
		}
	}
}

// leastWait keeps a time that does not come nearer, as after a jump of the clock, from being waited for without end.
const leastWait = time.Millisecond

// mostRest bounds the pause after a pass.
const mostRest = 100 * time.Millisecond

// rest leaves the store to other writers for as long as the pass has had it: nobody writes while a pass runs, and what
// comes meanwhile is for the next one. false: ctx has ended.
func (m *Manager) rest(ctx context.Context, took time.Duration) bool {
	timer := time.NewTimer(min(took, mostRest))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// once looks at all services that are due. Services that a failed commit touched stay due.
func (m *Manager) once(ctx context.Context) error {
	ids := m.due(m.cfg.Store.Now())
	if len(ids) == 0 {
		return nil
	}
	var p *pass
	_, err := m.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		p = newPass(tx, m.cfg.Applied(), m.log)
		err := p.run(ids)
		m.wake.settle(p.settled)
		return err
	})
	if err != nil {
		for _, id := range ids {
			m.wake.later(id, m.cfg.Store.Now().Add(retryAfter))
		}
		return fmt.Errorf("pass over %d services: %w", len(ids), err)
	}
	for _, id := range ids {
		m.wake.later(id, p.wake[id])
		note(m.starved, id, p.starved[id])
		note(m.draining, id, p.draining[id])
	}
	return nil
}

// due is what to look at now, with those that wait for room when there is news for them.
func (m *Manager) due(now time.Time) []string {
	ids := m.wake.take(now)
	if i := slices.Index(ids, starving); i >= 0 {
		ids = slices.AppendSeq(slices.Delete(ids, i, i+1), maps.Keys(m.starved))
		slices.Sort(ids)
		ids = slices.Compact(ids)
	}
	return ids
}

func note(set map[string]struct{}, id string, in bool) {
	if in {
		set[id] = struct{}{}
	} else {
		delete(set, id)
	}
}

func ctxOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// everything names all services, those that are deleted but have tasks left included.
func everything(v store.View) []string {
	seen := map[string]struct{}{}
	var ids []string
	add := func(id string) {
		if _, ok := seen[id]; !ok && id != "" {
			seen[id] = struct{}{}
			ids = append(ids, id)
		}
	}
	for s := range store.Services.All(v) {
		add(s.ID)
	}
	for t := range store.Tasks.All(v) {
		add(t.ServiceID)
	}
	return ids
}

// cause is what a change means to the passes.
type cause struct {
	services []string // to look at
	progress []string // to look at unless they are settled: their tasks have come nearer to running, and that is all
	room     bool     // a place may have become free
}

// affected says which services one transaction concerns.
func affected(v store.View, ev store.Event) cause {
	var c cause
	for _, ch := range ev.Changes {
		old, now := ch.Old, ch.New
		switch o := either(old, now).(type) {
		case *cluster.Service:
			c.services = append(c.services, o.ID)
			c.room = c.room || now == nil // its ports are free
		case *cluster.Task:
			was, n := as[cluster.Task](old), as[cluster.Task](now)
			switch {
			case o.ServiceID == "":
			case was != nil && n != nil && onlyNearer(was, n):
				c.progress = also(c.progress, o.ServiceID)
			default:
				c.services = also(c.services, o.ServiceID)
			}
			c.room = c.room || n == nil || cluster.Terminal(n.Status.State)
		case *cluster.Node:
			on, nn := as[cluster.Node](old), as[cluster.Node](now)
			if on != nil && nn != nil && sameForTasks(on, nn) {
				continue
			}
			there, followers := concerned(v, o.ID)
			if on != nil && nn != nil && onlyHeard(on, nn) {
				c.progress = append(c.progress, there...)
			} else {
				c.services = append(c.services, there...)
			}
			c.services = append(c.services, followers...)
			c.room = true
		case *cluster.Network:
			c.room = true
		case *cluster.Cluster:
			if oc, _ := old.(*cluster.Cluster); oc != nil && now != nil && historyLimit(oc) != historyLimit(now.(*cluster.Cluster)) {
				c.services = append(c.services, everything(v)...)
			}
		}
	}
	return c
}

// also appends id, unless it is the last already, as when tasks of one service come in a row.
func also(ids []string, id string) []string {
	if n := len(ids); n > 0 && ids[n-1] == id {
		return ids
	}
	return append(ids, id)
}

// onlyNearer says whether a task's node has reported something that is no end, and nothing else about it has changed.
func onlyNearer(a, b *cluster.Task) bool {
	return a.NodeID == b.NodeID && a.DesiredState == b.DesiredState && a.SpecID == b.SpecID && a.LeftIndex == b.LeftIndex &&
		a.LeftAt.Equal(b.LeftAt) && a.Moving == b.Moving &&
		cluster.Rank(a.Status.State) >= cluster.Rank(swarm.TaskStateAssigned) && !cluster.Terminal(b.Status.State)
}

func as[T any](o any) *T {
	p, _ := o.(*T)
	return p
}

func either(a, b any) any {
	if b != nil {
		return b
	}
	return a
}

// concerned are the services that a change of a node may concern: those with tasks there, and those that follow nodes or
// want to be spread again.
func concerned(v store.View, nodeID string) (there, followers []string) {
	for t := range store.Tasks.By(v, store.TaskNode, nodeID) {
		if t.ServiceID != "" {
			there = also(there, t.ServiceID)
		}
	}
	for s := range store.Services.All(v) {
		if s.Spec.Mode.Global != nil || s.Spec.Mode.GlobalJob != nil || reconcile.Rebalances(s) {
			followers = append(followers, s.ID)
		}
	}
	return there, followers
}

// onlyHeard says whether nothing has changed about a node but that it was heard of, or is no longer sure to be: tasks
// that it has stay there. DOWN is more than that.
func onlyHeard(a, b *cluster.Node) bool {
	if a.Status.State == swarm.NodeStateDown || b.Status.State == swarm.NodeStateDown {
		return false
	}
	c := *b
	c.Status.State = a.Status.State
	return sameForTasks(a, &c)
}

// sameForTasks says whether nothing changed that placing or keeping a task depends on.
func sameForTasks(a, b *cluster.Node) bool {
	return a.Status.State == b.Status.State && a.Status.Addr == b.Status.Addr && a.Spec.Availability == b.Spec.Availability &&
		a.Spec.Role == b.Spec.Role && maps.Equal(a.Spec.Labels, b.Spec.Labels) && reflect.DeepEqual(a.Description, b.Description)
}
