package rpc

import (
	"context"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"
)

// hello is a client that says hello and nothing more.
type hello struct {
	net.Conn
	sent chan struct{}
	more chan struct{}
}

func (h *hello) Read(b []byte) (int, error) {
	close(h.sent)
	<-h.more
	return h.Conn.Read(b)
}

// TestTurns: handshakes wait for their turn, Raft's do not, and who says nothing holds none.
func TestTurns(t *testing.T) {
	r := newRig(t)
	node := r.node(t, "m2", swarm.NodeRoleManager)
	for range cap(r.server.turns) {
		r.server.turns <- struct{}{}
	}
	done := make(chan error, 1)
	go func() {
		conn, err := dialTLS(t.Context(), node.Client(protoGRPC), r.addr)
		if err == nil {
			conn.Close()
		}
		done <- err
	}()
	raft, err := dialTLS(t.Context(), node.Client(protoRaft), r.addr)
	if err != nil {
		t.Fatal(err)
	}
	raft.Close()
	select {
	case err := <-done:
		t.Fatal("a handshake without a turn has ended", err)
	case <-time.After(50 * time.Millisecond):
	}
	<-r.server.turns
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for range cap(r.server.turns) - 1 {
		<-r.server.turns
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range cap(r.server.turns) + 1 {
		raw, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		h := &hello{Conn: raw, sent: make(chan struct{}), more: make(chan struct{})}
		defer close(h.more)
		go tls.Client(h, node.Client(protoGRPC)).HandshakeContext(ctx)
		<-h.sent
	}
	soon, stop := context.WithTimeout(ctx, handshakeTime/2) // the silent ones are not yet sent away
	defer stop()
	conn, err := dialTLS(soon, node.Client(protoGRPC), r.addr)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}
