package rpc

import (
	"context"
	"crypto/tls"
	"net"
	"runtime"
	"slices"
)

// turns lets few handshakes compute at a time. After a leader's death all nodes come back at once, and a thousand handshakes
// side by side would take the processors from the managers that elect and serve. Raft's own connections pass by the queue.
type turns chan struct{}

// newTurns leaves half of the processors to the rest of the daemon.
func newTurns() turns { return make(turns, max(1, runtime.GOMAXPROCS(0)/2)) }

// taking is a connection in its handshake. It has a turn except while it waits for what its peer says, so that one that says
// nothing keeps nobody waiting.
type taking struct {
	net.Conn
	turns turns
	ctx   context.Context // of the handshake
	queue bool            // it takes turns: it has said what it wants, and is not done
	has   bool            // a turn
}

func (t *taking) take() error {
	select {
	case t.turns <- struct{}{}:
		t.has = true
		return nil
	case <-t.ctx.Done():
		return t.ctx.Err()
	}
}

func (t *taking) give() {
	if t.has {
		t.has = false
		<-t.turns
	}
}

// Read waits for the peer without a turn, and for a turn to go on with what came.
func (t *taking) Read(b []byte) (int, error) {
	if !t.queue {
		return t.Conn.Read(b)
	}
	t.give()
	n, err := t.Conn.Read(b)
	if turn := t.take(); turn != nil && err == nil {
		err = turn
	}
	return n, err
}

// handshake makes the handshake of a connection that has just been taken.
func (s *Server) handshake(ctx context.Context, raw net.Conn) (*tls.Conn, error) {
	t := &taking{Conn: raw, turns: s.turns, ctx: ctx}
	config := s.config.Identity.Server(protoGRPC, protoRaft, protoAPI)
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		t.queue = !slices.Contains(hello.SupportedProtos, protoRaft)
		if !t.queue {
			return nil, nil // as it is
		}
		return nil, t.take()
	}
	conn := tls.Server(t, config)
	err := conn.HandshakeContext(ctx)
	t.give()
	t.queue = false
	return conn, err
}
