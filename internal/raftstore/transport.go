package raftstore

import (
	"log/slog"
	"time"

	"github.com/containerd/errdefs"
	"github.com/hashicorp/raft"

	"shoal/internal/cluster"
)

// ioTimeout is how long one message to another manager may take; snapshots get more, by their size.
const ioTimeout = 5 * time.Second

// connsKept is how many idle connections to each manager are kept.
const connsKept = 3

// NewTransport carries Raft's messages over the connections of layer. addr finds the present address of a server by its
// ID; where it knows none, the one that the server was added with is used.
func NewTransport(layer raft.StreamLayer, addr func(id string) (string, bool), log *slog.Logger) raft.Transport {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	config := &raft.NetworkTransportConfig{Stream: layer, MaxPool: connsKept, Timeout: ioTimeout, Logger: newLogger(log)}
	if addr != nil {
		config.ServerAddressProvider = addresses(addr)
	}
	return raft.NewNetworkTransportWithConfig(config)
}

type addresses func(id string) (string, bool)

// ServerAddr is the library's look-up; after an error it falls back to the configured address.
func (a addresses) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	if addr, ok := a(string(id)); ok {
		return raft.ServerAddress(addr), nil
	}
	return "", cluster.Errorf(errdefs.ErrNotFound, "no address of manager %s is known", id)
}
