package dispatch

import (
	"context"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"shoal/internal/cluster"
	"shoal/internal/rpc"
)

// helloTime is how long a node has to say what it is, once its session is open.
const helloTime = 10 * time.Second

// maxCalls bounds the calls that a node has been asked for and not been told of yet.
const maxCalls = 1024

// session is one node's stream.
type session struct {
	nodeID string
	deltas bool // the node takes changes of the network state
	stream rpc.SessionStream
	ctx    context.Context
	cancel context.CancelCauseFunc
	wake   chan struct{} // holds one token: there may be something to send

	mu    sync.Mutex
	acked uint64   // not told yet; 0: nothing
	calls []string // not told yet
	beat  bool     // a beat came, to be answered
	dirty bool     // what the node should hold may have changed
}

// session runs one node's stream to its end.
func (t *term) session(caller rpc.Caller, stream rpc.SessionStream) error {
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	s := &session{nodeID: caller.ID, stream: stream, ctx: ctx, cancel: cancel, wake: make(chan struct{}, 1), dirty: true}
	hello, err := s.hello()
	if err != nil {
		return err
	}
	s.deltas = hello.Deltas
	t.touch(s.nodeID)
	if err := t.register(ctx, caller, hello); err != nil {
		return err
	}
	if err := t.begin(s, hello); err != nil {
		return err
	}
	defer t.finish(s)
	received := make(chan error, 1)
	go func() { received <- t.receive(s, hello) }() // it ends with the stream, which ends when this returns
	sent := make(chan error, 1)
	go func() { sent <- t.send(s) }() // likewise
	select {
	case err = <-received:
	case err = <-sent:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	return err // which also ends a Send that a node which reads no more holds up
}

// hello waits for the first message, which says what the node is.
func (s *session) hello() (*cluster.Up, error) {
	type first struct {
		up  *cluster.Up
		err error
	}
	got := make(chan first, 1)
	go func() { // it ends with the stream, which ends when the session returns
		up, err := s.stream.Recv()
		got <- first{up, err}
	}()
	timer := time.NewTimer(helloTime)
	defer timer.Stop()
	select {
	case f := <-got:
		if f.err == nil && f.up.Description == nil {
			return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "the first message of a session must describe the node")
		}
		return f.up, f.err
	case <-timer.C:
		return nil, cluster.Errorf(errdefs.ErrUnavailable, "node %s said nothing", s.nodeID)
	}
}

// touch notes that a node is on its way back, so that it does not fall between its registration and its session.
func (t *term) touch(nodeID string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m := t.members[nodeID]; m != nil {
		m.beat.last, m.beat.probe = t.dispatcher.config.Now(), probeNone
	}
}

// begin makes s the node's one session.
func (t *term) begin(s *session, hello *cluster.Up) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.members[s.nodeID]
	if m == nil {
		m = &member{}
		t.members[s.nodeID] = m
	}
	if t.over || t.world.Load() == nil {
		return errNotLeading
	}
	t.running.Add(1)
	if m.session != nil {
		m.session.cancel(cluster.Errorf(errdefs.ErrAborted, "node %s opened another session", s.nodeID))
	}
	m.session, m.ready, m.down = s, true, false
	m.beat = beat{last: t.dispatcher.config.Now()}
	m.progress = progress{}
	m.progress.mark(hello.Applied)
	s.kick()
	return nil
}

// finish ends s; its node has time to come back.
func (t *term) finish(s *session) {
	s.cancel(nil)
	t.mu.Lock()
	if m := t.members[s.nodeID]; m != nil && m.session == s {
		m.session = nil
		m.beat.closed = true
	}
	t.mu.Unlock()
	t.running.Done()
}

// receive reads what the node says, beginning with its first message, until the stream ends.
func (t *term) receive(s *session, up *cluster.Up) error {
	for {
		if err := t.heard(s, up); err != nil {
			return err
		}
		var err error
		if up, err = s.stream.Recv(); err != nil {
			return err
		}
		if up.Description != nil {
			if err := t.register(s.ctx, rpc.Caller{ID: s.nodeID}, up); err != nil {
				return err
			}
		}
	}
}

// heard takes one message of the node.
func (t *term) heard(s *session, up *cluster.Up) error {
	now := t.dispatcher.config.Now()
	t.mu.Lock()
	if m := t.members[s.nodeID]; m != nil && m.session == s {
		m.beat.last, m.beat.probe = now, probeNone
	}
	t.mu.Unlock()
	if up.Keys != nil {
		if err := t.keys(s.ctx, s.nodeID, up.Keys.List); err != nil {
			return err // the node tells them again in its next session
		}
	}
	if up.Applied != 0 {
		t.progressed(s.nodeID, func(m *member) {
			if m.session == s {
				m.progress.applied(up.Applied)
			}
		})
	}
	if len(up.Statuses) > 0 {
		return t.reports.put(s.ctx, report{nodeID: s.nodeID, up: up, at: t.store.Now(), done: func(err error) {
			if err != nil {
				s.cancel(err) // the node sends them again in its next session
				return
			}
			s.ack(up.Seq)
		}})
	}
	s.answer()
	return nil
}

// send writes to the node whatever there is for it, until the session ends.
func (t *term) send(s *session) error {
	h := held{deltas: s.deltas}
	for {
		select {
		case <-s.wake:
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		}
		acked, calls, beat, dirty := s.take()
		var down *cluster.Down
		if dirty {
			var err error
			if down, err = t.update(s, &h); err != nil {
				return err
			}
		}
		if down == nil {
			if acked == 0 && len(calls) == 0 && !beat {
				continue
			}
			down = &cluster.Down{}
		}
		down.Acked, down.Calls = acked, calls
		if err := s.stream.Send(down); err != nil {
			return err
		}
	}
}

// update works out what brings the node to the present world, and notes that it is on its way.
func (t *term) update(s *session, h *held) (*cluster.Down, error) {
	t.progressed(s.nodeID, func(m *member) {
		if m.session == s {
			m.progress.begin()
		}
	})
	w := h.newest(t.world.Load(), t.store)
	down, networks, err := h.update(w, s.nodeID)
	t.progressed(s.nodeID, func(m *member) {
		if m.session != s {
			return
		}
		m.networks = networks
		m.progress.done(w.index, down != nil && (down.Network != nil || down.Change != nil))
	})
	return down, err
}

// kick says that what the node should hold may have changed.
func (s *session) kick() {
	s.mu.Lock()
	s.dirty = true
	s.mu.Unlock()
	s.token()
}

func (s *session) ask(call string) {
	s.mu.Lock()
	if len(s.calls) < maxCalls {
		s.calls = append(s.calls, call)
	}
	s.mu.Unlock()
	s.token()
}

func (s *session) ack(seq uint64) {
	s.mu.Lock()
	s.acked = max(s.acked, seq)
	s.mu.Unlock()
	s.token()
}

func (s *session) answer() {
	s.mu.Lock()
	s.beat = true
	s.mu.Unlock()
	s.token()
}

func (s *session) token() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *session) take() (acked uint64, calls []string, beat, dirty bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	acked, calls, beat, dirty = s.acked, s.calls, s.beat, s.dirty
	s.acked, s.calls, s.beat, s.dirty = 0, nil, false, false
	return acked, calls, beat, dirty
}
