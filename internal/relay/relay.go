package relay

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"shoal/internal/cluster"
)

// AnswerTime is how long a node has to open the stream that it was asked for.
const AnswerTime = 10 * time.Second

// Asker asks a node, down its session, to open a stream for a call; dispatch.Dispatcher is the body. The error is of
// class Unavailable when the node has no session here.
type Asker interface {
	Ask(nodeID, call string) error
}

// Relay is a manager's open calls. All methods may be called concurrently.
type Relay struct {
	asker Asker

	mu      sync.Mutex
	waiting map[string]*waiting // by call
}

type waiting struct {
	nodeID string
	conn   chan net.Conn // takes one
}

// New returns a relay that asks through asker.
func New(asker Asker) *Relay {
	return &Relay{asker: asker, waiting: map[string]*waiting{}}
}

// Dial opens a connection to the node's API handler.
func (r *Relay) Dial(ctx context.Context, nodeID string) (net.Conn, error) {
	call := cluster.NewID()
	w := &waiting{nodeID: nodeID, conn: make(chan net.Conn)}
	r.mu.Lock()
	r.waiting[call] = w
	r.mu.Unlock()
	defer r.forget(call)
	if err := r.asker.Ask(nodeID, call); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, AnswerTime)
	defer cancel()
	select {
	case conn := <-w.conn:
		return conn, nil
	case <-ctx.Done():
		return nil, cluster.Errorf(errdefs.ErrUnavailable, "node %s did not answer", nodeID)
	}
}

// Transport sends requests to the API handler of that node, whatever host their URLs name; one stream a request.
func (r *Relay) Transport(nodeID string) http.RoundTripper {
	return &http.Transport{
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return r.Dial(ctx, nodeID) },
		DisableKeepAlives:  true,
		DisableCompression: true,
	}
}

// Answer takes the stream that a node opened for a call and returns when the call is over. It is refused when nobody
// waits for it, or another node was asked.
func (r *Relay) Answer(nodeID, call string, conn net.Conn) error {
	r.mu.Lock()
	w := r.waiting[call]
	r.mu.Unlock()
	if w == nil || w.nodeID != nodeID {
		conn.Close()
		return cluster.Errorf(errdefs.ErrNotFound, "nobody waits for call %s", call)
	}
	ended := make(chan struct{})
	select {
	case w.conn <- &tracked{Conn: conn, ended: ended}:
	case <-contextOf(conn).Done():
		conn.Close()
		return nil
	case <-time.After(AnswerTime):
		conn.Close()
		return cluster.Errorf(errdefs.ErrNotFound, "nobody waits for call %s any more", call)
	}
	select {
	case <-ended:
	case <-contextOf(conn).Done():
		conn.Close()
	}
	return nil
}

func (r *Relay) forget(call string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waiting, call)
}

// tracked tells when it is closed: the stream lives until its handler returns.
type tracked struct {
	net.Conn
	once  sync.Once
	ended chan struct{}
}

// Close ends the call.
func (t *tracked) Close() error {
	t.once.Do(func() { close(t.ended) })
	return t.Conn.Close()
}

// contextOf is the life of the stream under conn.
func contextOf(conn net.Conn) context.Context {
	if c, ok := conn.(interface{ Context() context.Context }); ok {
		return c.Context()
	}
	return context.Background()
}
