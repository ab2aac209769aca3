package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/moby/term"

	"shoal/internal/shim/wire"
)

// Streams are a client's ends of a process's standard streams. A nil one is not wanted.
type Streams struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// DetachKeys, read on Stdin of a terminal, let go of the process without ending it; nil: none.
	DetachKeys []byte
}

// Attach joins a container's streams from now on: of one that does not run yet from its start, so that nothing is
// missed. It returns nil when the container has ended and all of its output is written, or when the client detached;
// when ctx ends; and with the first error of a stream.
func (c *Container) Attach(ctx context.Context, s Streams) error {
	conn, err := c.attached(ctx)
	if errors.Is(err, io.EOF) {
		return nil // removed before it ran
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	detached := make(chan struct{})
	if s.Stdin != nil {
		in := s.Stdin
		if len(s.DetachKeys) > 0 && c.Record().Config.Tty {
			in = term.NewEscapeProxy(in, s.DetachKeys)
		}
		go func() { // ends with the client's stream, which the caller closes
			if feed(conn, in) {
				close(detached)
				conn.Close()
			}
		}()
	}
	err = drain(conn, s)
	select {
	case <-detached:
		return nil
	default:
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// feed sends input to the container until it ends. It reports whether the client asked to be let go.
func feed(conn net.Conn, in io.Reader) (detached bool) {
	buf := make([]byte, 32<<10)
	for {
		n, err := in.Read(buf)
		if _, ok := errors.AsType[term.EscapeError](err); ok {
			return true
		}
		if n > 0 && wire.WriteFrame(conn, wire.Stdin, buf[:n]) != nil {
			return false
		}
		if err != nil {
			_ = wire.WriteFrame(conn, wire.Stdin, nil) // the end of the input; the container may have ended itself
			return false
		}
	}
}

// drain writes the container's output until it ends.
func drain(conn net.Conn, s Streams) error {
	var buf []byte
	for {
		stream, data, err := wire.ReadFrame(conn, buf)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read output: %w", err)
		}
		buf = data
		w := s.Stdout
		if stream == wire.Stderr {
			w = s.Stderr
		}
		if w == nil {
			continue
		}
		if _, err := w.Write(data); err != nil {
			return err
		}
	}
}

// attached returns a connection that hears all that comes: now, or when the container starts.
func (c *Container) attached(ctx context.Context) (net.Conn, error) {
	type outcome struct {
		conn net.Conn
		err  error
	}
	met := make(chan outcome, 1)
	cancel := c.BeforeStart(func(string) {
		conn, err := c.dialShim(ctx)
		met <- outcome{conn, err}
	})
	for {
		rec, changed := c.Changed()
		if rec.State.Running() || c.gone() {
			break
		}
		select {
		case o := <-met:
			return o.conn, o.err
		case <-changed:
		case <-ctx.Done():
			cancel()
			return nil, context.Cause(ctx)
		}
	}
	cancel()
	select {
	case o := <-met:
		return o.conn, o.err
	default: // it ran before we asked, or just started without us
	}
	if c.gone() {
		return nil, io.EOF
	}
	return c.dialShim(ctx)
}

// dialShim connects to the shim and returns when it hears us.
func (c *Container) dialShim(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", c.AttachSocket())
	if err != nil {
		return nil, fmt.Errorf("attach to container %s: %w", c.ID(), err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	stream, _, err := wire.ReadFrame(conn, nil)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err == nil && stream != wire.Ready {
		err = fmt.Errorf("unexpected stream %d", stream)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("attach to container %s: %w", c.ID(), err)
	}
	return conn, nil
}
