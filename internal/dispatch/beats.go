package dispatch

import (
	"context"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/store"
)

// The beats are looked at when somebody may be late, but at most and at least so often a heartbeat period: less would be slow to
// see that a clock or the period has changed.
const looksPerPeriod, leastLooks = 20, 2

// beats looks for late nodes until ctx ends.
func (t *term) beats(ctx context.Context) error {
	timer := time.NewTimer(t.period() / looksPerPeriod)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			next, err := t.look(ctx)
			timer.Reset(next)
			if errdefs.IsResourceExhausted(err) { // the sessions of the others need not end for that
				t.dispatcher.config.Log.Error("nodes that are down cannot be written so, will try again", "error", err)
				continue
			}
			if err != nil {
				return err
			}
		}
	}
}

// look judges all nodes and returns when to do so again.
func (t *term) look(ctx context.Context) (next time.Duration, _ error) {
	now, period := t.dispatcher.config.Now(), t.period()
	next = period / leastLooks
	var down, ask []string
	t.mu.Lock()
	for id, m := range t.members {
		if m.down {
			continue
		}
		switch judge(m.beat, period, now) {
		case Wait:
		case Probe:
			m.beat.probe = probeAsked
			ask = append(ask, id)
		case Down:
			down = append(down, id)
		}
		next = min(next, deadline(m.beat, period).Sub(now))
	}
	t.mu.Unlock()
	next = max(next, period/looksPerPeriod)
	for _, id := range ask {
		t.probe(ctx, id)
	}
	if len(down) == 0 {
		return next, nil
	}
	slices.Sort(down)
	return next, t.fall(ctx, down)
}

// probe finds out whether a silent node's machine lives, beside the rest.
func (t *term) probe(ctx context.Context, nodeID string) {
	n := store.Nodes.Get(t.store.View(), nodeID)
	if n == nil {
		return
	}
	addr := machineAddr(n)
	t.running.Go(func() {
		result := probeAlive // without an address nobody can tell: the longer wait
		if addr != "" && !t.dispatcher.config.Reach(ctx, addr) {
			result = probeDead
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		if m := t.members[nodeID]; m != nil && m.beat.probe == probeAsked {
			m.beat.probe = result
		}
	})
}

// fall writes that nodes are DOWN.
func (t *term) fall(ctx context.Context, ids []string) error {
	t.dispatcher.config.Log.Warn("nodes are down", "nodes", ids)
	fell := map[string]*session{} // the sessions that these nodes had then
	_, err := t.store.Update(ctx, func(tx *store.Tx) error {
		for _, id := range ids {
			have := store.Nodes.Get(tx, id)
			s, late := t.late(id)
			if have == nil || !late {
				continue
			}
			if fell[id] = s; have.Status.State == swarm.NodeStateDown {
				continue
			}
			n := *have
			n.Status.State, n.Status.Message = swarm.NodeStateDown, "heartbeat failure"
			n.Falls = fallen(n.Falls, tx.Now())
			store.Nodes.Put(tx, &n)
		}
		return nil
	})
	if err != nil {
		return err
	}
	t.mu.Lock()
	for id, s := range fell {
		m := t.members[id]
		if m == nil || m.session != s || s == nil && !m.late(t) {
			continue // it came back meanwhile: its registration comes after this write
		}
		m.down, m.ready = true, false
		if s != nil { // also when it was heard of since: only a new registration makes it READY again
			s.cancel(errNotHeard)
		}
	}
	t.mu.Unlock()
	t.recount()
	return nil
}

// late says whether a node should fall, as of now, and which session it has.
func (t *term) late(nodeID string) (*session, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.members[nodeID]
	if m == nil {
		return nil, false
	}
	return m.session, m.late(t)
}

func (m *member) late(t *term) bool {
	return judge(m.beat, t.period(), t.dispatcher.config.Now()) == Down
}
