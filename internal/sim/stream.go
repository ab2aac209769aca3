package sim

import (
	"context"
	"time"

	"shoal/internal/cluster"
)

// stream is one session on the wire: two lanes that keep their order. Messages wait while the way is cut, as TCP's do;
// an end that hears nothing for keepAlive, or whose peer's kernel resets it, sees the stream fail, and whatever is on its
// way then is lost.
type stream struct {
	w            *world
	node, leader string // hosts
	k            uint64
	up           lane[*cluster.Up]
	down         lane[*cluster.Down]

	client, server end
}

// end is one side of a stream.
type end struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	heard  time.Time
	gone   bool // its process died
}

// lane carries messages one way; the world's mutex guards it.
type lane[T any] struct {
	queue []parcel[T]
	last  time.Time // the newest one's arrival
	sent  uint64
	wake  chan struct{} // closed when something was sent
}

type parcel[T any] struct {
	message T
	at      time.Time
}

func newStream(ctx context.Context, c *connection) *stream {
	s := &stream{w: c.from.host.w, node: c.from.host.id, leader: c.to, k: c.k + c.calls<<20}
	s.client.ctx, s.client.cancel = context.WithCancelCause(ctx)
	s.server.ctx, s.server.cancel = context.WithCancelCause(c.server.ctx)
	s.client.heard, s.server.heard = time.Now(), time.Now()
	s.up.wake, s.down.wake = make(chan struct{}), make(chan struct{})
	c.from.streams = append(c.from.streams, s)
	c.server.streams = append(c.server.streams, s)
	return s
}

// put sends a message; w.mu is held.
func (l *lane[T]) put(s *stream, what string, message T) {
	l.sent++
	at := time.Now().Add(s.w.dice.delay(tripQuick, tripSlow, what+s.node, s.k+l.sent))
	if !at.After(l.last) {
		at = l.last.Add(1)
	}
	l.last = at
	l.queue = append(l.queue, parcel[T]{message, at})
	close(l.wake)
	l.wake = make(chan struct{})
}

// get waits for a message from one host to another; e hears it.
func get[T any](s *stream, l *lane[T], e *end, from, to string) (message T, err error) {
	for {
		s.w.mu.Lock()
		wait := keepAlive - time.Since(e.heard)
		open := s.w.net.way(from, to)
		if open && s.w.net.way(to, from) && s.alive(from) {
			e.heard = time.Now() // pings are answered
			wait = keepAlive
			if s.peer(e).gone {
				e.cancel(lostConnection("reset by peer"))
			}
		}
		if open && len(l.queue) > 0 {
			p := l.queue[0]
			if until := time.Until(p.at); until > 0 {
				wait = min(wait, until)
			} else if e.ctx.Err() == nil {
				l.queue = l.queue[1:]
				s.w.mu.Unlock()
				return p.message, nil
			}
		}
		wake, moved := l.wake, s.w.net.moved
		s.w.mu.Unlock()
		if wait <= 0 {
			e.cancel(lostConnection("no answer"))
		}
		timer := time.NewTimer(max(wait, 1))
		select {
		case <-timer.C:
		case <-wake:
		case <-moved:
		case <-e.ctx.Done():
			timer.Stop()
			return message, context.Cause(e.ctx)
		}
		timer.Stop()
	}
}

func (s *stream) peer(e *end) *end {
	if e == &s.client {
		return &s.server
	}
	return &s.client
}

// alive says whether a host's kernel answers; w.mu is held.
func (s *stream) alive(id string) bool {
	h := s.w.host(id)
	return h != nil && h.on
}

// tell ends the other side a trip later, if word reaches it; else it finds out by itself.
func (s *stream) tell(from, to string, e *end, err error) {
	if !s.alive(from) || !s.w.net.way(from, to) {
		return
	}
	time.AfterFunc(s.w.dice.delay(tripQuick, tripSlow, "reset"+s.node, s.k), func() { e.cancel(err) })
}

// closeClient ends the node's side.
func (s *stream) closeClient() {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.client.cancel(context.Canceled)
	s.tell(s.node, s.leader, &s.server, lostConnection("closed by the node"))
}

// serverEnds ends the manager's side; what was sent before still arrives.
func (s *stream) serverEnds(err error) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.server.cancel(err)
	s.tell(s.leader, s.node, &s.client, err)
}

// clientEnd is the agent's.
type clientEnd struct{ *stream }

// Send hands a message over; it never waits.
func (c *clientEnd) Send(up *cluster.Up) error {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	if err := c.client.ctx.Err(); err != nil {
		return context.Cause(c.client.ctx)
	}
	h := c.w.host(c.node)
	if h != nil {
		up = shift(up, h.ahead())
	}
	c.up.put(c.stream, "up ", up)
	return nil
}

// Recv waits for the manager's next message.
func (c *clientEnd) Recv() (*cluster.Down, error) {
	down, err := get(c.stream, &c.down, &c.client, c.leader, c.node)
	if err == nil {
		c.w.mu.Lock()
		c.w.rules.told(c.node, down)
		c.w.mu.Unlock()
	}
	return down, err
}

// Context ends with the stream.
func (c *clientEnd) Context() context.Context { return c.client.ctx }

// serverEnd is the dispatcher's.
type serverEnd struct{ *stream }

// Send hands a message over; it never waits.
func (e *serverEnd) Send(down *cluster.Down) error {
	e.w.mu.Lock()
	defer e.w.mu.Unlock()
	if e.server.ctx.Err() != nil {
		return context.Cause(e.server.ctx)
	}
	e.down.put(e.stream, "down ", down)
	return nil
}

// Recv waits for the node's next message.
func (e *serverEnd) Recv() (*cluster.Up, error) {
	return get(e.stream, &e.up, &e.server, e.node, e.leader)
}

// Context ends with the stream.
func (e *serverEnd) Context() context.Context { return e.server.ctx }
