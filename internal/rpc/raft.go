package rpc

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
	"golang.org/x/sys/unix"
)

// Raft returns the layer that carries Raft's connections over the port, for raftstore.NewTransport. Both ends have
// proved to be managers of this swarm.
func (s *Server) Raft() raft.StreamLayer { return &raftLayer{s.forRaft, s} }

type raftLayer struct {
	*queue
	server *Server
}

// Dial connects to another manager's Raft.
func (l *raftLayer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(l.server.ctx, timeout)
	defer cancel()
	return dialTLS(ctx, l.server.config.Identity.Client(protoRaft), string(address), giveUp)
}

// silentTime is how long a peer may leave what is sent to it unacknowledged. The library waits for a snapshot by its
// size, for hours with a large one; a machine that lost its power would hold up its own way back for as long.
const silentTime = time.Minute

// giveUp has the kernel end a connection whose other end has gone.
func giveUp(_, _ string, raw syscall.RawConn) error {
	var err error
	control := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silentTime.Milliseconds()))
	})
	return errors.Join(control, err)
}

// Listen takes the port for other nodes. Its connections notice in a quarter of a minute that the other machine is gone: a
// follower in the middle of a snapshot hears nobody else until then.
func Listen(addr string) (net.Listener, error) {
	config := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 3 * time.Second, Count: 3}}
	return config.Listen(context.Background(), "tcp", addr)
}
