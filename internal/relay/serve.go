package relay

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// Serve answers the one call that comes over conn with handler, and returns when it is over: the node's side.
func Serve(conn net.Conn, handler http.Handler) {
	l := &single{conn: make(chan net.Conn, 1), done: make(chan struct{})}
	l.conn <- &closing{Conn: conn, closed: l.end}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	server.Serve(l) //nolint:errcheck // it ends with the connection
	l.wait()
}

// single is a listener with one connection; Accept ends when that one is closed.
type single struct {
	conn chan net.Conn
	once sync.Once
	done chan struct{}
}

// Accept returns the connection, and the next time waits for its end.
func (s *single) Accept() (net.Conn, error) {
	select {
	case conn := <-s.conn:
		return conn, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}

func (s *single) end()  { s.once.Do(func() { close(s.done) }) }
func (s *single) wait() { <-s.done }

// Close does nothing: the connection ends the listener.
func (s *single) Close() error { return nil }

// Addr names the stream, which has no address.
func (s *single) Addr() net.Addr { return &net.UnixAddr{Name: "relay", Net: "unix"} }

// closing tells when it is closed.
type closing struct {
	net.Conn
	closed func()
}

// Close ends the call; after a hijack too.
func (c *closing) Close() error {
	err := c.Conn.Close()
	c.closed()
	return err
}
