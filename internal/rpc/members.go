package rpc

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// leader answers who leads, as far as this manager knows.
func (s *Server) leader(ctx context.Context, _ Caller, _ *Empty) (*LeaderReply, error) {
	id, addr := s.awaitLeader(ctx)
	view := s.config.Store.View()
	reply := &LeaderReply{Managers: Managers(view), Index: view.Index()}
	if addr != "" {
		reply.ID, reply.Addr = id, addr
	}
	return reply, nil
}

// join writes down where the caller is and makes it a member of the Raft group.
func (s *Server) join(ctx context.Context, caller Caller, request *JoinRequest) (*JoinReply, error) {
	if _, _, err := net.SplitHostPort(request.Addr); err != nil {
		return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "address of manager %s: %v", caller.ID, err)
	}
	// What is begun here is waited for: a worker's certificate must not be given meanwhile (see issue).
	if err := s.holdMembers(ctx); err != nil {
		return nil, err
	}
	defer s.letMembersGo()
	ctx = context.WithoutCancel(ctx)
	_, err := s.config.Store.Update(ctx, func(tx *store.Tx) error {
		have := store.Nodes.Get(tx, caller.ID)
		if have == nil || have.Spec.Role != swarm.NodeRoleManager || have.Cert.Role == swarm.NodeRoleWorker {
			return cluster.Errorf(errdefs.ErrPermissionDenied, "node %s is not a manager", caller.ID)
		}
		if have.ManagerStatus != nil && have.ManagerStatus.Addr == request.Addr {
			return nil
		}
		n := *have
		n.ManagerStatus = &swarm.ManagerStatus{Addr: request.Addr, Reachability: swarm.ReachabilityReachable}
		store.Nodes.Put(tx, &n)
		return nil
	})
	if err != nil {
		return nil, err
	}
	g := s.config.Group()
	if g == nil {
		return nil, errNoLeader
	}
	add := g.AddNonvoter
	if request.Voter {
		add = g.AddVoter
	}
	if err := add(ctx, caller.ID, request.Addr); err != nil {
		return nil, err
	}
	view := s.config.Store.View()
	return &JoinReply{Leader: g.Leader(), Peers: Managers(view), Index: view.Index()}, nil
}

// holdMembers waits until nobody is being made a member.
func (s *Server) holdMembers(ctx context.Context) error {
	select {
	case s.members <- struct{}{}:
		return nil
	case <-ctx.Done():
		return cluster.Errorf(errdefs.ErrUnavailable, "another manager is joining: %v", ctx.Err())
	}
}

func (s *Server) letMembersGo() { <-s.members }

// leave takes the caller out of the Raft group and marks it DOWN.
func (s *Server) leave(ctx context.Context, caller Caller, _ *Empty) (*Empty, error) {
	if g := s.config.Group(); g != nil && caller.Role == swarm.NodeRoleManager {
		if err := g.Remove(ctx, caller.ID); err != nil {
			return nil, err
		}
	}
	_, err := s.config.Store.Update(ctx, func(tx *store.Tx) error {
		have := store.Nodes.Get(tx, caller.ID)
		if have == nil {
			return nil
		}
		n := *have
		n.Status.State, n.Status.Message = swarm.NodeStateDown, "left the swarm"
		if n.ManagerStatus != nil {
			n.ManagerStatus = &swarm.ManagerStatus{Addr: n.ManagerStatus.Addr, Reachability: swarm.ReachabilityUnreachable}
		}
		store.Nodes.Put(tx, &n)
		return nil
	})
	return &Empty{}, err
}

// probeTime is how long a machine has to answer a probe.
const probeTime = time.Second

// probe tries whether a machine lives.
func (s *Server) probe(ctx context.Context, _ Caller, request *ProbeRequest) (*ProbeReply, error) {
	return &ProbeReply{Alive: Alive(ctx, request.Addr)}, nil
}

// Alive says whether the machine at addr (host:port) lives: it accepts a TCP connection or refuses one.
func Alive(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err == nil {
		conn.Close()
		return true
	}
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET)
}

// session hands a node's stream to the dispatcher.
func (s *Server) session(caller Caller, stream *stream[cluster.Down, cluster.Up]) error {
	if s.config.Sessions == nil || !s.leads() {
		return errNoLeader
	}
	return s.config.Sessions.Session(caller, stream)
}

// answer hands a stream that a node opened back to who asked for it.
func (s *Server) answer(caller Caller, stream *stream[Frame, Frame]) error {
	frame, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return err
	}
	if s.config.Calls == nil {
		return cluster.Errorf(errdefs.ErrUnavailable, "this manager relays no calls")
	}
	return s.config.Calls.Answer(caller.ID, frame.Call, newConn(stream, func() {}, func() {}))
}
