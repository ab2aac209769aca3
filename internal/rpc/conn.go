package rpc

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// frameSize is how much of a relayed stream goes into one message.
const frameSize = 32 << 10

// frames is a stream of frames in both directions.
type frames interface {
	Send(*Frame) error
	Recv() (*Frame, error)
	Context() context.Context
}

// conn makes a connection of a stream of frames. Reads have deadlines (net/http needs them to hand a connection over);
// writes have none: they end with the stream.
type conn struct {
	frames frames
	// end is called once by Close, with no write under way; over when nothing comes any more.
	end, over func()
	once      sync.Once
	closed    chan struct{}

	incoming chan []byte // what the reader has read; closed at the end
	rest     []byte
	failure  error // why incoming was closed

	writing sync.Mutex

	mu       sync.Mutex
	deadline time.Time
	changed  chan struct{} // closed when the deadline changes
}

func newConn(f frames, end, over func()) net.Conn {
	c := &conn{frames: f, end: end, over: over, closed: make(chan struct{}), incoming: make(chan []byte), changed: make(chan struct{})}
	go c.receive()
	return c
}

// receive reads the stream until it ends; what comes after Close is dropped.
func (c *conn) receive() {
	defer c.over()
	defer close(c.incoming)
	for {
		frame, err := c.frames.Recv()
		if err != nil {
			c.failure = err
			return
		}
		select {
		case c.incoming <- frame.Data:
		case <-c.closed:
		}
	}
}

// Read returns what has come, and waits for something until the deadline.
func (c *conn) Read(b []byte) (int, error) {
	for len(c.rest) == 0 {
		c.mu.Lock()
		deadline, changed := c.deadline, c.changed
		c.mu.Unlock()
		var late <-chan time.Time
		if !deadline.IsZero() {
			timer := time.NewTimer(time.Until(deadline))
			defer timer.Stop()
			late = timer.C
		}
		select {
		case data, ok := <-c.incoming:
			if !ok {
				return 0, c.failure
			}
			c.rest = data
		case <-late:
			return 0, os.ErrDeadlineExceeded
		case <-changed:
		case <-c.closed:
			return 0, net.ErrClosed
		}
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// Write sends b.
func (c *conn) Write(b []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	sent := 0
	for sent < len(b) {
		select {
		case <-c.closed:
			return sent, net.ErrClosed
		default:
		}
		n := min(len(b)-sent, frameSize)
		if err := c.frames.Send(&Frame{Data: b[sent : sent+n]}); err != nil {
			if errors.Is(err, io.EOF) { // gRPC's word for "the stream is over, ask Recv why"
				err = io.ErrClosedPipe
			}
			return sent, err
		}
		sent += n
	}
	return sent, nil
}

// Close ends the connection. What was written before still arrives.
func (c *conn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		go func() { // a write that is held up must not hold up Close; whoever made the stream bounds its life
			c.writing.Lock()
			defer c.writing.Unlock()
			c.end()
		}()
	})
	return nil
}

// Closed is closed by Close: a server's end of a stream lives until its handler returns.
func (c *conn) Closed() <-chan struct{} { return c.closed }

// Context ends with the stream.
func (c *conn) Context() context.Context { return c.frames.Context() }

// LocalAddr names the stream, which has no address.
func (c *conn) LocalAddr() net.Addr { return advertised("relay") }

// RemoteAddr names the stream, which has no address.
func (c *conn) RemoteAddr() net.Addr { return advertised("relay") }

// SetDeadline sets that of Read.
func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline is when Read stops waiting; it holds for a Read under way too.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	close(c.changed)
	c.changed = make(chan struct{})
	return nil
}

// SetWriteDeadline does nothing.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }
