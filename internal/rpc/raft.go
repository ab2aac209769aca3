package rpc

import (
	"context"
	"net"
	"time"

	"github.com/hashicorp/raft"
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
	return dialTLS(ctx, l.server.config.Identity.Client(protoRaft), string(address))
}
