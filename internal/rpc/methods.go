package rpc

import (
	"context"

	"google.golang.org/grpc"

	"shoal/internal/cluster"
)

// access is who may make a call.
type access int

const (
	anyone   access = iota // even without a certificate
	nodes                  // every node of the cluster
	managers               // managers of the cluster
)

// place is who answers a call.
type place int

const (
	here     place = iota // whichever manager was asked
	atLeader              // the leader; others forward it
)

// The methods, by the names they have on the wire.
const (
	methodRoot    = "/shoal.CA/Root"
	methodIssue   = "/shoal.CA/Issue"
	methodLeader  = "/shoal.Members/Leader"
	methodJoin    = "/shoal.Members/Join"
	methodLeave   = "/shoal.Members/Leave"
	methodMove    = "/shoal.Members/Move"
	methodProbe   = "/shoal.Members/Probe"
	methodSession = "/shoal.Dispatch/Session"
	methodAnswer  = "/shoal.Relay/Answer"

	methodAttach   = "/shoal.Networks/Attach"
	methodDetach   = "/shoal.Networks/Detach"
	methodPlaces   = "/shoal.Networks/Places"
	methodNetworks = "/shoal.Networks/List"
)

// methods is every call there is: who may make it and who answers it. What is not here cannot be called.
var methods = []method{
	unary(methodRoot, anyone, here, (*Server).root),
	unary(methodIssue, anyone, atLeader, (*Server).issue),
	unary(methodLeader, nodes, here, (*Server).leader),
	unary(methodJoin, managers, atLeader, (*Server).join),
	unary(methodLeave, nodes, atLeader, (*Server).leave),
	unary(methodMove, nodes, here, (*Server).move), // passed on to the leader by its own hand
	unary(methodProbe, managers, here, (*Server).probe),
	unary(methodAttach, nodes, atLeader, (*Server).attach),
	unary(methodDetach, nodes, atLeader, (*Server).detach),
	unary(methodPlaces, nodes, atLeader, (*Server).places),
	unary(methodNetworks, nodes, atLeader, (*Server).networks),
	streaming(methodSession, nodes, (*Server).session),
	streaming(methodAnswer, nodes, (*Server).answer),
}

// method is one call.
type method struct {
	name   string
	access access
	place  place
	// Exactly one of these is set.
	unary  func(s *Server, ctx context.Context, m *method, decode func(any) error) (any, error)
	stream func(s *Server, caller Caller, stream grpc.ServerStream) error
}

func unary[Q, R any](name string, a access, p place, f func(*Server, context.Context, Caller, *Q) (*R, error)) method {
	return method{name: name, access: a, place: p, unary: func(s *Server, ctx context.Context, m *method, decode func(any) error) (any, error) {
		caller, err := s.admit(ctx, m)
		if err != nil {
			return nil, err
		}
		request := new(Q)
		if err := decode(request); err != nil {
			return nil, err
		}
		if m.place == atLeader && !s.leads() {
			reply := new(R)
			return reply, s.forward(ctx, caller, m, request, reply)
		}
		return f(s, ctx, caller, request)
	}}
}

func streaming[S, R any](name string, a access, f func(*Server, Caller, *stream[S, R]) error) method {
	return method{name: name, access: a, place: here, stream: func(s *Server, caller Caller, g grpc.ServerStream) error {
		return f(s, caller, &stream[S, R]{g})
	}}
}

// stream is a typed view of a gRPC stream that sends S and receives R.
type stream[S, R any] struct {
	raw interface {
		SendMsg(any) error
		RecvMsg(any) error
		Context() context.Context
	}
}

// Send hands a message to the connection, and waits while the other side does not read.
func (s *stream[S, R]) Send(message *S) error { return fromStatus(s.raw.SendMsg(message)) }

// Recv waits for a message; io.EOF: the other side has ended in good order.
func (s *stream[S, R]) Recv() (*R, error) {
	message := new(R)
	if err := s.raw.RecvMsg(message); err != nil {
		return nil, fromStatus(err)
	}
	return message, nil
}

// Context ends with the stream.
func (s *stream[S, R]) Context() context.Context { return s.raw.Context() }

// SessionStream is a manager's end of a node's session.
type SessionStream interface {
	Send(*cluster.Down) error
	Recv() (*cluster.Up, error)
	Context() context.Context
}

// AgentStream is the node's end of its session.
type AgentStream interface {
	Send(*cluster.Up) error
	Recv() (*cluster.Down, error)
	Context() context.Context
}
