package agent

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"

	"shoal/internal/cluster"
	"shoal/internal/rpc"
)

// Bounds of a session.
const (
	beatsPerPeriod = 5
	silentBeats    = 4  // without an answer to so many, the leader is given up
	maxQueued      = 16 // messages that wait to be worked on
)

// errSilent ends a session whose leader may be frozen, or cut off.
var errSilent = cluster.Errorf(errdefs.ErrUnavailable, "the leader has not answered")

// session is one session with the leader.
type session struct {
	agent  *Agent
	client Manager
	stream rpc.AgentStream
	ctx    context.Context
	cancel context.CancelCauseFunc
	// since is when the reader began to wait for the message that it waits for; 0: it does not wait.
	since atomic.Int64
	// keysMoved is closed when there are other keys than were sent; nil: the data plane makes none.
	keysMoved <-chan struct{}
}

// keys are those of encrypted networks to tell the leader of; nil: the data plane makes none.
func (s *session) keys() *cluster.OwnKeys {
	holder, ok := s.agent.config.Network.(Keyholder)
	if !ok {
		return nil
	}
	s.keysMoved = holder.KeysMoved()
	return &cluster.OwnKeys{List: holder.Keys()}
}

// run says what the node is and serves the session to its end.
func (s *session) run() error {
	a := s.agent
	description, err := a.config.Executor.Describe(s.ctx)
	if err != nil {
		return fmt.Errorf("describe the node: %w", err)
	}
	description.TLSInfo = a.config.Identity.TLSInfo()
	if err := s.stream.Send(&cluster.Up{Description: &description, Applied: a.network.index(), Keys: s.keys(), Deltas: true}); err != nil {
		_, err = s.stream.Recv() // which says why
		return err
	}
	a.reports.restart()
	a.mu.Lock()
	a.client = s.client
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		a.client = nil
		a.mu.Unlock()
		a.update(func(st *State) { st.Connected = false })
	}()
	downs := make(chan *cluster.Down, maxQueued)
	var g errgroup.Group
	for _, f := range []func() error{func() error { return s.receive(downs) }, func() error { return s.apply(downs) }, s.send} {
		g.Go(func() error {
			err := f()
			s.cancel(err) // one ends, all end
			return err
		})
	}
	g.Wait() //nolint:errcheck // the first one's is the cause
	return context.Cause(s.ctx)
}

// receive reads messages.
func (s *session) receive(downs chan<- *cluster.Down) error {
	for {
		s.since.Store(time.Now().UnixNano())
		down, err := s.stream.Recv()
		s.since.Store(0)
		if err != nil {
			return err
		}
		select {
		case downs <- down:
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		}
	}
}

// apply works on the messages, in order.
func (s *session) apply(downs <-chan *cluster.Down) error {
	for {
		select {
		case down := <-downs:
			if err := s.handle(down); err != nil {
				return err
			}
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		}
	}
}

// handle does what one message says: the network first, since tasks need it and traffic leaves a task before it stops.
func (s *session) handle(down *cluster.Down) error {
	a := s.agent
	if down.Acked != 0 {
		a.reports.acked(down.Acked)
	}
	for _, call := range down.Calls {
		go s.call(call)
	}
	if down.HeartbeatPeriod > 0 {
		a.mu.Lock()
		a.period = down.HeartbeatPeriod
		a.mu.Unlock()
	}
	if len(down.Root) > 0 {
		a.trust(down.Root)
	}
	if down.Managers != nil || down.Node != nil || down.Full {
		a.update(func(st *State) {
			st.Connected = true
			if down.Managers != nil {
				st.Managers = down.Managers
			}
			if down.Node != nil {
				st.Node = down.Node
			}
		})
	}
	if down.Node != nil {
		token(a.renew)
		if a.config.Node != nil {
			a.config.Node(down.Node)
		}
	}
	if down.Network != nil {
		select {
		case <-a.network.set(down.Network):
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		}
	}
	if down.Change != nil {
		settled, err := a.network.change(down.Change)
		if err != nil {
			return err // the next session begins with the whole state
		}
		select {
		case <-settled:
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		}
	}
	a.tasks.apply(down)
	return nil
}

// send sends beats, statuses and what was applied.
func (s *session) send() error {
	a := s.agent
	leaf := a.config.Identity.Leaf()
	timer := time.NewTimer(a.heartbeatPeriod() / beatsPerPeriod)
	defer timer.Stop()
	for {
		up := &cluster.Up{}
		changed := a.config.Identity.Changed()
		if now := a.config.Identity.Leaf(); now != leaf {
			leaf = now
			description, err := a.config.Executor.Describe(s.ctx)
			if err != nil {
				return fmt.Errorf("describe the node: %w", err)
			}
			description.TLSInfo = a.config.Identity.TLSInfo()
			up.Description = &description
		} else {
			select {
			case <-timer.C:
				timer.Reset(a.heartbeatPeriod() / beatsPerPeriod)
				if err := s.silence(); err != nil {
					return err
				}
			case <-a.reports.ready:
				up.Seq, up.Statuses = a.reports.take()
				if len(up.Statuses) == 0 {
					continue
				}
				up.Sent = time.Now()
			case <-a.network.moved:
				up.Applied = a.network.index()
			case <-a.network.lost:
				return cluster.Errorf(errdefs.ErrFailedPrecondition, "the data plane needs the whole network state")
			case <-s.keysMoved:
				up.Keys = s.keys()
			case <-changed:
				continue
			case <-s.ctx.Done():
				return context.Cause(s.ctx)
			}
		}
		if err := s.stream.Send(up); err != nil {
			if s.ctx.Err() == nil {
				<-s.ctx.Done() // the reader learns why the stream ended
			}
			return context.Cause(s.ctx)
		}
	}
}

// silence returns an error when the leader has not answered for too long: it may be frozen, or cut off.
func (s *session) silence() error {
	since := s.since.Load()
	limit := s.agent.heartbeatPeriod() * silentBeats / beatsPerPeriod
	if since != 0 && time.Since(time.Unix(0, since)) > limit {
		return fmt.Errorf("%w for %s", errSilent, limit)
	}
	return nil
}

// call opens the stream that the manager asked for and has it answered.
func (s *session) call(id string) {
	client, own := s.client.(*rpc.Client)
	if s.agent.config.Call == nil || !own {
		return
	}
	conn, err := client.Answer(s.ctx, id)
	if err != nil {
		s.agent.log.Warn("a call of the manager could not be answered", "err", err)
		return
	}
	defer conn.Close()
	s.agent.config.Call(conn)
}
