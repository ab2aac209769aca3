package rpc

import (
	"context"
	"math"
	"net"
	"time"

	"github.com/moby/moby/api/types/network"
	"google.golang.org/grpc"

	"shoal/internal/cluster"
)

// Client is a connection to one manager. Errors have the class they had on the other side; Unavailable also means that
// the connection failed and the outcome of a write is unknown.
type Client struct {
	conn  *grpc.ClientConn
	spare chan net.Conn
	addr  string
}

// Addr is the address that was dialled.
func (c *Client) Addr() string { return c.addr }

// Close ends the connection and all that goes over it.
func (c *Client) Close() error {
	err := c.conn.Close()
	select {
	case conn := <-c.spare:
		conn.Close()
	default:
	}
	return err
}

func call[Q, R any](ctx context.Context, c *Client, method string, request *Q) (*R, error) {
	reply := new(R)
	if err := c.conn.Invoke(ctx, method, request, reply); err != nil {
		return nil, fromStatus(err)
	}
	return reply, nil
}

func open[S, R any](ctx context.Context, c *Client, method string) (*clientStream[S, R], error) {
	raw, err := c.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		return nil, fromStatus(err)
	}
	return &clientStream[S, R]{stream[S, R]{raw}, raw}, nil
}

type clientStream[S, R any] struct {
	stream[S, R]
	grpc grpc.ClientStream
}

// Root fetches the roots of the swarm.
func (c *Client) Root(ctx context.Context) (*RootReply, error) {
	return call[Empty, RootReply](ctx, c, methodRoot, &Empty{})
}

// Issue asks for a certificate.
func (c *Client) Issue(ctx context.Context, request *IssueRequest) (*IssueReply, error) {
	return call[IssueRequest, IssueReply](ctx, c, methodIssue, request)
}

// Leader asks who leads.
func (c *Client) Leader(ctx context.Context) (*LeaderReply, error) {
	return call[Empty, LeaderReply](ctx, c, methodLeader, &Empty{})
}

// Join makes the caller, a manager by its certificate, a member of the Raft group.
func (c *Client) Join(ctx context.Context, request *JoinRequest) (*JoinReply, error) {
	return call[JoinRequest, JoinReply](ctx, c, methodJoin, request)
}

// Leave says that the caller leaves the swarm: a manager loses its place in the Raft group (refused when that would
// cost the quorum), and the node is DOWN at once.
func (c *Client) Leave(ctx context.Context) error {
	_, err := call[Empty, Empty](ctx, c, methodLeave, &Empty{})
	return err
}

// Probe asks the manager whether it can reach the machine at addr.
func (c *Client) Probe(ctx context.Context, addr string) (bool, error) {
	reply, err := call[ProbeRequest, ProbeReply](ctx, c, methodProbe, &ProbeRequest{Addr: addr})
	return err == nil && reply.Alive, err
}

// Attach gives a plain container of the caller a place in a network. It may be asked again after any error: the container
// has one place in a network.
func (c *Client) Attach(ctx context.Context, request *cluster.AttachRequest) (*cluster.Place, error) {
	return call[cluster.AttachRequest, cluster.Place](ctx, c, methodAttach, request)
}

// Detach gives back places of the caller's plain containers.
func (c *Client) Detach(ctx context.Context, taskIDs ...string) error {
	_, err := call[DetachRequest, Empty](ctx, c, methodDetach, &DetachRequest{TaskIDs: taskIDs})
	return err
}

// Places lists the places that the store has of the caller's plain containers.
func (c *Client) Places(ctx context.Context) ([]cluster.Place, error) {
	reply, err := call[Empty, PlacesReply](ctx, c, methodPlaces, &Empty{})
	if err != nil {
		return nil, err
	}
	return reply.Places, nil
}

// Networks lists the networks of the swarm that the caller may know of.
func (c *Client) Networks(ctx context.Context) ([]network.Inspect, error) {
	reply, err := call[Empty, NetworksReply](ctx, c, methodNetworks, &Empty{})
	if err != nil {
		return nil, err
	}
	return reply.Networks, nil
}

// Session opens the node's session; it ends with ctx.
func (c *Client) Session(ctx context.Context) (AgentStream, error) {
	return open[cluster.Up, cluster.Down](ctx, c, methodSession)
}

// Answer opens the stream back that a manager asked for, as a connection. It ends with ctx or by Close.
func (c *Client) Answer(ctx context.Context, call string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	s, err := open[Frame, Frame](ctx, c, methodAnswer)
	if err == nil {
		err = s.Send(&Frame{Call: call})
	}
	if err != nil {
		cancel()
		return nil, err
	}
	lazy := time.AfterFunc(time.Duration(math.MaxInt64), cancel)
	conn := newConn(s, func() { s.grpc.CloseSend() }, func() { //nolint:errcheck // the stream is over either way
		lazy.Stop()
		cancel()
	})
	return &answering{conn, lazy}, nil
}

// closeTime is how long the manager has to take what was written before Close.
const closeTime = 10 * time.Second

// answering is the node's end of a call: closed, the stream lives on until the manager has taken everything.
type answering struct {
	net.Conn
	cancel *time.Timer
}

// Close ends the call in good order, and by force after a while.
func (a *answering) Close() error {
	a.cancel.Reset(closeTime)
	return a.Conn.Close()
}
