package raftstore

import (
	"log/slog"
	"net"
	"sync"
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
// ID; where it knows none, the one that the server was added with is used. An error of layer's Dial should be
// syscall.ECONNREFUSED where that is why, so that a leader whose process died is known to be gone.
func NewTransport(layer raft.StreamLayer, addr func(id string) (string, bool), log *slog.Logger) raft.Transport {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	l := &watchedLayer{layer, make(chan struct{}, 1)}
	config := &raft.NetworkTransportConfig{Stream: l, MaxPool: connsKept, Timeout: ioTimeout, Logger: newLogger(log)}
	if addr != nil {
		config.ServerAddressProvider = addresses(addr)
	}
	t := &transport{NetworkTransport: raft.NewNetworkTransportWithConfig(config), layer: l, rpcs: make(chan raft.RPC), done: make(chan struct{})}
	go t.forward()
	return t
}

// transport is the library's, which also takes what this node has to say to itself.
type transport struct {
	*raft.NetworkTransport
	layer *watchedLayer
	rpcs  chan raft.RPC
	done  chan struct{}
	once  sync.Once
}

// Consumer is where Raft takes what comes.
func (t *transport) Consumer() <-chan raft.RPC { return t.rpcs }

// Close ends all connections.
func (t *transport) Close() error {
	t.once.Do(func() { close(t.done) })
	return t.NetworkTransport.Close()
}

func (t *transport) forward() {
	for {
		select {
		case rpc := <-t.NetworkTransport.Consumer():
			select {
			case t.rpcs <- rpc:
			case <-t.done:
				return
			}
		case <-t.done:
			return
		}
	}
}

// stand has this node stand for election now, as a leader has the one do that it hands over to. It returns when Raft has
// heard of it.
func (t *transport) stand() {
	answer := make(chan raft.RPCResponse, 1)
	request := &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}}
	select {
	case t.rpcs <- raft.RPC{Command: request, RespChan: answer}:
	case <-t.done:
		return
	}
	select {
	case <-answer:
	case <-t.done:
	}
}

// watchedLayer notes when a connection ends that another manager has made.
type watchedLayer struct {
	raft.StreamLayer
	ended chan struct{} // holds one token
}

// Accept waits for a connection.
func (l *watchedLayer) Accept() (net.Conn, error) {
	conn, err := l.StreamLayer.Accept()
	if err != nil {
		return nil, err
	}
	return &watchedConn{conn, l.ended}, nil
}

type watchedConn struct {
	net.Conn
	ended chan<- struct{}
}

// Read is how Raft learns of the end, as it always waits for the next message.
func (c *watchedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		select {
		case c.ended <- struct{}{}:
		default:
		}
	}
	return n, err
}

type addresses func(id string) (string, bool)

// ServerAddr is the library's look-up; after an error it falls back to the configured address.
func (a addresses) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	if addr, ok := a(string(id)); ok {
		return raft.ServerAddress(addr), nil
	}
	return "", cluster.Errorf(errdefs.ErrNotFound, "no address of manager %s is known", id)
}
