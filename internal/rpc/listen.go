package rpc

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/moby/moby/api/types/swarm"
)

// The protocols of the port, by ALPN.
const (
	protoGRPC = "h2"
	protoRaft = "shoal-raft"
	protoAPI  = "shoal-api"
)

// Bounds on callers that have not said who they are.
const (
	handshakeTime = 10 * time.Second // to finish a handshake
	anonymousTime = time.Minute      // to join, for connections without a certificate
	maxHandshakes = 8192             // at once
	maxFromOne    = 1024             // of them from one address
	// Connections without a certificate after the handshake, which gRPC keeps buffers for: at once, and from one address.
	maxAnonymous, maxAnonymousFromOne = 512, 128
)

// greet makes the handshake and gives the connection to whom its protocol names.
func (s *Server) greet(raw net.Conn, host string) {
	ctx, cancel := context.WithTimeout(s.ctx, s.patience)
	defer cancel()
	conn, err := s.handshake(ctx, raw)
	if err != nil {
		s.log.Debug("port 2377: handshake", "remote", raw.RemoteAddr(), "err", err)
		raw.Close()
		return
	}
	state := conn.ConnectionState()
	caller, err := s.holder(state)
	if err == nil {
		err = s.known(caller)
	}
	if err != nil {
		s.log.Warn("port 2377: refused", "remote", raw.RemoteAddr(), "err", err)
		conn.Close()
		return
	}
	manager := caller.Role == swarm.NodeRoleManager
	switch {
	case state.NegotiatedProtocol == protoGRPC && caller.ID == "":
		p := s.anonymous.enter(conn, host)
		if p == nil {
			s.log.Warn("port 2377: refused", "remote", raw.RemoteAddr(), "err", "too many connections without a certificate from this address")
			conn.Close()
			return
		}
		s.forGRPC.put(newBrief(conn, anonymousTime, p))
	case state.NegotiatedProtocol == protoGRPC:
		s.forGRPC.put(conn)
	case state.NegotiatedProtocol == protoRaft && manager:
		s.forRaft.put(conn)
	case state.NegotiatedProtocol == protoAPI && manager:
		s.forAPI.put(plain{conn})
	default:
		s.log.Warn("port 2377: refused", "remote", raw.RemoteAddr(), "node", caller.ID, "protocol", state.NegotiatedProtocol)
		conn.Close()
	}
}

// queue is a listener whose connections are put into it.
type queue struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	end   sync.Once
	once  sync.Once // for who serves it
}

func newQueue(addr net.Addr) *queue {
	return &queue{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

func (q *queue) put(conn net.Conn) {
	select {
	case q.conns <- conn:
	case <-q.done:
		conn.Close()
	case <-time.After(handshakeTime): // nobody serves this protocol here
		conn.Close()
	}
}

// Accept waits for a connection.
func (q *queue) Accept() (net.Conn, error) {
	select {
	case conn := <-q.conns:
		return conn, nil
	case <-q.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (q *queue) Close() error {
	q.end.Do(func() { close(q.done) })
	return nil
}

// Addr is where others reach the port.
func (q *queue) Addr() net.Addr { return q.addr }

// advertised is an address as text.
type advertised string

// Network is always TCP.
func (advertised) Network() string  { return "tcp" }
func (a advertised) String() string { return string(a) }

// plain hides from net/http that a connection is TLS's: it serves only protocols that it knows, by ALPN.
type plain struct{ net.Conn }
