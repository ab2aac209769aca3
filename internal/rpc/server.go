package rpc

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/moby/moby/api/types/network"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"shoal/internal/ca"
	"shoal/internal/cluster"
	"shoal/internal/raftstore"
	"shoal/internal/store"
)

// Group is the Raft group as far as calls need it; raftstore.Node is the body.
type Group interface {
	IsLeader() bool
	Leader() string // node ID, empty while nobody leads
	// LeaderChanged is closed when Leader returns something else than at the call, or may.
	LeaderChanged() <-chan struct{}
	Servers() []raftstore.Server
	AddNonvoter(ctx context.Context, id, addr string) error
	AddVoter(ctx context.Context, id, addr string) error
	Move(ctx context.Context, id, addr string) error
	Remove(ctx context.Context, id string) error
}

// Sessions takes nodes' sessions; dispatch.Dispatcher is the body. Session returns when the session is over.
type Sessions interface {
	Session(caller Caller, stream SessionStream) error
}

// Calls takes the streams that nodes open back; relay.Relay is the body. Answer returns when the call is over.
type Calls interface {
	Answer(nodeID, call string, conn net.Conn) error
}

// Networks gives the nodes' plain containers places in the swarm's networks; controlplane.Control is the body. A node
// asks for itself alone.
type Networks interface {
	Attach(ctx context.Context, nodeID string, request cluster.AttachRequest) (cluster.Place, error)
	Detach(ctx context.Context, nodeID string, taskIDs []string) error
	Places(nodeID string) []cluster.Place
	NetworksFor(nodeID string) []network.Inspect
}

// Config says what a server works with. Identity, Store and Log must be set.
type Config struct {
	Identity *ca.Identity
	Store    *store.Store
	// Group returns the Raft group; nil while it is not open yet, when whatever needs the leader is unavailable.
	Group    func() Group
	Sessions Sessions     // nil: no sessions here
	Calls    Calls        // nil: no reverse calls here
	Networks Networks     // nil: no places for plain containers here
	API      http.Handler // the Docker API for other managers' forwarded requests; nil: none
	// Moved is told where a manager says that it is from now on, before the store is; nil: nobody wants to know.
	Moved func(id, addr string)
	// Advertise is host:port where other managers reach this one.
	Advertise string
	Now       func() time.Time // time.Now when nil
	Log       *slog.Logger
}

// Server is a manager's side of port 2377.
type Server struct {
	config Config
	log    *slog.Logger
	// Those that are in their handshake, and those that have ended it without a certificate.
	handshakes, anonymous gate
	patience              time.Duration // for a handshake
	turns                 turns

	members chan struct{} // holds one while a manager is made a member

	grpc   *grpc.Server
	http   *http.Server
	dialer peers

	forGRPC, forAPI, forRaft *queue
	ctx                      context.Context // ends with Close
	cancel                   context.CancelFunc
	wg                       sync.WaitGroup
}

// Windows of a stream and of a connection with all its streams, in bytes. Fixed ones: gRPC would measure the connection to
// choose them, and for that answer each message of an otherwise idle stream with a ping.
const streamWindow, connWindow = 1 << 20, 4 << 20

// maxMessage bounds one gRPC message: a full set of assignments of a large node.
const maxMessage = 256 << 20

// NewServer prepares a server; nothing is served before Serve.
func NewServer(config Config) *Server {
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	if config.Group == nil {
		config.Group = func() Group { return nil }
	}
	s := &Server{config: config, log: config.Log, members: make(chan struct{}, 1)}
	s.dialer.identity = config.Identity
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.handshakes.max, s.handshakes.one = maxHandshakes, maxFromOne
	s.anonymous.max, s.anonymous.one = maxAnonymous, maxAnonymousFromOne
	s.patience = handshakeTime
	s.turns = newTurns()
	addr := advertised(config.Advertise)
	s.forGRPC, s.forAPI, s.forRaft = newQueue(addr), newQueue(addr), newQueue(addr)
	s.grpc = grpc.NewServer(
		grpc.Creds(handshaken{}),
		grpc.ForceServerCodec(codec{}),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.StaticStreamWindowSize(streamWindow), grpc.StaticConnWindowSize(connWindow),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: 10 * time.Minute, Time: time.Minute, Timeout: 20 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)
	s.register(s.grpc)
	s.http = &http.Server{Handler: config.API, ReadHeaderTimeout: 30 * time.Second}
	if config.API == nil {
		s.http.Handler = http.NotFoundHandler()
	}
	return s
}

// Serve takes connections from ln until Close; more than one listener may be served at once. The error is nil after
// Close.
func (s *Server) Serve(ln net.Listener) error {
	s.serveQueues()
	stop := context.AfterFunc(s.ctx, func() { ln.Close() })
	defer stop()
	for {
		conn, err := ln.Accept()
		switch {
		case s.ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // too many open files, or a connection that died in the queue: the next may do
			s.log.Warn("port 2377: accept", "err", err)
			select {
			case <-time.After(50 * time.Millisecond):
			case <-s.ctx.Done():
			}
			continue
		}
		host := hostOf(conn.RemoteAddr())
		seat := s.handshakes.enter(conn, host)
		if seat == nil {
			conn.Close()
			continue
		}
		s.wg.Go(func() {
			defer seat.leave()
			s.greet(conn, host)
		})
	}
}

// serveQueues starts what answers the sorted connections, once.
func (s *Server) serveQueues() {
	s.forGRPC.once.Do(func() {
		s.wg.Go(func() { s.grpc.Serve(s.forGRPC) }) //nolint:errcheck // ends with Close
		s.wg.Go(func() { s.http.Serve(s.forAPI) })  //nolint:errcheck // ends with Close
	})
}

// Close ends all connections and waits for what they were doing.
func (s *Server) Close() error {
	s.cancel()
	s.forRaft.Close()
	s.grpc.Stop()
	err := s.http.Close()
	s.forGRPC.Close()
	s.forAPI.Close()
	s.dialer.close()
	s.wg.Wait()
	return err
}

// leads says whether this node leads the swarm.
func (s *Server) leads() bool {
	g := s.config.Group()
	return g != nil && g.IsLeader()
}
