package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"

	"shoal/internal/ca"
	"shoal/internal/cluster"
)

// Dial connects to the manager at addr (host:port) as this node, and returns when it has proved to be one.
func Dial(ctx context.Context, identity *ca.Identity, addr string) (*Client, error) {
	return dialGRPC(ctx, identity.Client(protoGRPC), addr)
}

// dialGRPC makes the first connection at once, so that its error is the caller's to see, and leaves reconnecting to gRPC.
func dialGRPC(ctx context.Context, config *tls.Config, addr string) (*Client, error) {
	first, err := dialTLS(ctx, config, addr)
	if err != nil {
		return nil, err
	}
	spare := make(chan net.Conn, 1)
	spare <- first
	conn, err := grpc.NewClient("passthrough:///"+addr,
		grpc.WithTransportCredentials(handshaken{}),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			select {
			case conn := <-spare:
				return conn, nil
			default:
				return dialTLS(ctx, config, addr)
			}
		}),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(codec{}), grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: 3 * time.Second, Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 3 * time.Second}}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
		grpc.WithStaticStreamWindowSize(streamWindow), grpc.WithStaticConnWindowSize(connWindow),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
	)
	if err != nil {
		first.Close()
		return nil, fmt.Errorf("connect to manager %s: %w", addr, err)
	}
	conn.Connect()
	return &Client{conn: conn, spare: spare, addr: addr}, nil
}

// connectTime bounds a TCP connect: a machine that lost its power answers nothing, and the kernel would try for minutes.
const connectTime = 2 * time.Second

// dialTLS connects and makes the handshake; control, which may be missing, is the socket's (see net.Dialer).
func dialTLS(ctx context.Context, config *tls.Config, addr string, control ...func(network, address string, raw syscall.RawConn) error) (net.Conn, error) {
	dialer := net.Dialer{Timeout: connectTime}
	if len(control) > 0 {
		dialer.Control = control[0]
	}
	raw, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, cluster.Errorf(errors.Join(errdefs.ErrUnavailable, err), "connect to manager %s: %v", addr, err)
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, cluster.Errorf(errdefs.ErrUnavailable, "connect to manager %s: %v", addr, err)
	}
	return conn, nil
}

// peers keeps the connections to other managers that calls are forwarded over.
type peers struct {
	identity *ca.Identity
	mu       sync.Mutex
	open     map[string]*Client
	closed   bool
}

// get returns a connection to addr, which stays the pool's.
func (p *peers) get(ctx context.Context, addr string) (*Client, error) {
	p.mu.Lock()
	c := p.open[addr]
	p.mu.Unlock()
	if c != nil {
		return c, nil
	}
	c, err := Dial(ctx, p.identity, addr)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if have := p.open[addr]; have != nil || p.closed {
		c.Close()
		if p.closed {
			return nil, cluster.Errorf(errdefs.ErrUnavailable, "this manager is stopping")
		}
		return have, nil
	}
	if p.open == nil {
		p.open = map[string]*Client{}
	}
	p.open[addr] = c
	return c, nil
}

func (p *peers) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, c := range p.open {
		c.Close()
	}
	p.open = nil
}
