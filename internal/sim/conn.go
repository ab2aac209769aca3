package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/agent"
	"shoal/internal/cluster"
	"shoal/internal/rpc"
)

// dial connects an agent to the manager at addr, as rpc.Dial does.
func (p *process) dial(ctx context.Context, addr string) (agent.Manager, error) {
	w, to := p.host.w, hostOf(addr)
	w.mu.Lock()
	p.dials++
	k := p.dials<<8 | p.born<<40
	w.mu.Unlock()
	c := &connection{from: p, to: to, k: k}
	if err := c.trip(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// connection is an agent's connection to a manager's host.
type connection struct {
	from   *process
	to     string
	k      uint64
	calls  uint64
	server *manager // the process that accepted it
	cancel []context.CancelFunc
}

// trip takes the time of a request and its reply, and fails as a TCP connection does.
func (c *connection) trip(ctx context.Context) error {
	w, me := c.from.host.w, c.from.host.id
	c.calls++
	if err := pause(ctx, w.dice.delay(tripQuick, tripSlow, "trip "+me+c.to, c.k+c.calls)); err != nil {
		return unreachable(c.to, err)
	}
	for {
		w.mu.Lock()
		h, moved, open := w.host(c.to), w.net.moved, w.net.both(me, c.to)
		dead, on := c.from.dead, h != nil && h.on
		expired := time.Now().After(c.from.identity.Leaf().NotAfter)
		var m *manager
		if on {
			m = h.manager
		}
		w.mu.Unlock()
		switch {
		case dead:
			return unreachable(c.to, context.Canceled)
		case !open || !on: // packets go nowhere
		case expired:
			return unreachable(c.to, errors.New("remote error: tls: expired certificate"))
		case m == nil:
			return unreachable(c.to, errors.New("connection refused"))
		case c.server == nil:
			c.server = m
			return nil
		case c.server != m:
			return unreachable(c.to, errors.New("connection reset by peer"))
		default:
			return nil
		}
		again := time.NewTimer(200 * time.Millisecond)
		select {
		case <-moved:
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return unreachable(c.to, ctx.Err())
		}
		again.Stop()
	}
}

// Leader asks who leads.
func (c *connection) Leader(ctx context.Context) (*rpc.LeaderReply, error) {
	if err := c.trip(ctx); err != nil {
		return nil, err
	}
	w := c.from.host.w
	w.mu.Lock()
	defer w.mu.Unlock()
	v := c.server.store.View()
	reply := &rpc.LeaderReply{Managers: rpc.Managers(v)}
	switch {
	case c.server.leading:
		reply.ID, reply.Addr = c.to, c.to+port
	case w.leader() != nil && w.net.both(c.to, w.group.leader):
		reply.ID, reply.Addr = w.group.leader, w.group.leader+port
	}
	return reply, nil
}

// Issue asks for a certificate, and Join for a place among the managers. The answer may be lost.
func (c *connection) Issue(ctx context.Context, request *rpc.IssueRequest) (*rpc.IssueReply, error) {
	return ask(ctx, c, request, rpc.Local.Issue)
}

// Join asks for a place among the managers.
func (c *connection) Join(ctx context.Context, request *rpc.JoinRequest) (*rpc.JoinReply, error) {
	return ask(ctx, c, request, rpc.Local.Join)
}

func ask[Q, R any](ctx context.Context, c *connection, request *Q, call func(rpc.Local, context.Context, *Q) (*R, error)) (*R, error) {
	if err := c.trip(ctx); err != nil {
		return nil, err
	}
	addr := &net.TCPAddr{IP: c.from.host.addr().AsSlice(), Port: 40000}
	reply, err := call(rpc.Local{Server: c.server.server, Cert: c.from.identity.Leaf(), Addr: addr}, ctx, request)
	if back := c.trip(ctx); back != nil {
		return nil, back
	}
	return reply, err
}

// Session opens a stream and has the manager's dispatcher serve it.
func (c *connection) Session(ctx context.Context) (rpc.AgentStream, error) {
	if err := c.trip(ctx); err != nil {
		return nil, err
	}
	w := c.from.host.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if !c.server.leading {
		return nil, cluster.Errorf(errdefs.ErrUnavailable, "no leader here")
	}
	s := newStream(ctx, c)
	caller := rpc.Caller{ID: c.from.host.id, Role: c.from.identity.Subject().Role, Addr: c.from.host.id}
	server, m := &serverEnd{s}, c.server
	c.cancel = append(c.cancel, s.closeClient)
	m.running.Go(func() {
		err := m.dispatch.Session(caller, server)
		if err == nil {
			err = io.EOF
		}
		s.serverEnds(err)
	})
	return &clientEnd{s}, nil
}

// Close ends the connection and its sessions.
func (c *connection) Close() error {
	for _, cancel := range c.cancel {
		cancel()
	}
	return nil
}

func unreachable(host string, err error) error {
	return cluster.Errorf(errdefs.ErrUnavailable, "connect to manager %s: %v", host, err)
}

// port is where managers listen.
const port = ":2377"

func hostOf(addr string) string {
	for i := range len(addr) {
		if addr[i] == ':' {
			return addr[:i]
		}
	}
	return addr
}

func (h *host) role() swarm.NodeRole {
	if h.manages {
		return swarm.NodeRoleManager
	}
	return swarm.NodeRoleWorker
}

// reach is a manager's try whether a machine lives: its own, and the other managers' whom it can ask.
func (m *manager) reach(ctx context.Context, addr string) bool {
	w, to := m.w, hostOf(addr)
	w.mu.Lock()
	m.probes[to]++
	k := keyOf(to) + m.probes[to] + m.born<<32
	w.mu.Unlock()
	if pause(ctx, w.dice.delay(tripQuick, tripSlow, "probe "+m.host.id, k)) != nil {
		return false
	}
	try := func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		h := w.host(to)
		if h == nil || !h.on {
			return false
		}
		for _, peer := range w.hosts {
			if peer.manager != nil && (peer == m.host || w.net.both(m.host.id, peer.id)) && w.net.both(peer.id, to) {
				return true
			}
		}
		return false
	}
	if try() {
		return true
	}
	return pause(ctx, time.Second) == nil && try()
}

// shift puts a node's times of an Up message into the clock that its machine has.
func shift(up *cluster.Up, skew time.Duration) *cluster.Up {
	if skew == 0 || (len(up.Statuses) == 0 && up.Sent.IsZero()) {
		return up
	}
	out := *up
	if !out.Sent.IsZero() {
		out.Sent = out.Sent.Add(skew)
	}
	out.Statuses = make([]cluster.TaskReport, len(up.Statuses))
	for i, s := range up.Statuses {
		if !s.Status.Timestamp.IsZero() {
			s.Status.Timestamp = s.Status.Timestamp.Add(skew)
		}
		out.Statuses[i] = s
	}
	return &out
}

func lostConnection(why string) error {
	return fmt.Errorf("connection lost (%s): %w", why, errdefs.ErrUnavailable)
}
