package playground

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// connectTime is how long a machine may take to accept a forwarded connection before the next one is tried. A machine that has
// been cut off answers nothing at all.
const connectTime = 300 * time.Millisecond

// Forward takes connections from l, which stands on the host, and leads each to a port of one of the machines, as a load
// balancer in front of the cluster would: the machines take turns, and one that does not accept is passed over. The machines see
// the client machine as the caller. It returns when ctx ends or the client machine does.
func (p *Playground) Forward(ctx context.Context, l net.Listener, port int) error {
	pid := p.Client().pid()
	if pid == 0 {
		return errors.New("the playground's client machine is off: remove the playground, and make it anew")
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("playground: client machine: %w", err)
	}
	defer unix.Close(fd)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		for ctx.Err() == nil && ended(fd, time.Minute) != nil { // asked again each minute, to see that ctx has ended
		}
	}()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var turn atomic.Uint32
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("playground: forward: %w", err)
		}
		go func() {
			defer conn.Close()
			if to := p.dialAny(ctx, port, turn.Add(1)); to != nil {
				defer to.Close()
				join(conn, to)
			}
		}()
	}
}

// dialAny connects from the client machine to the first machine that accepts, beginning with the one whose turn it is.
func (p *Playground) dialAny(ctx context.Context, port int, turn uint32) net.Conn {
	// Read anew: another process may have made machines since.
	now, err := Open(p.Dir)
	if err != nil {
		return nil
	}
	nodes := now.Machines()
	for i := range nodes {
		m := nodes[(int(turn)+i)%len(nodes)]
		if !m.On() {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, connectTime)
		c, err := p.Client().Dial(ctx, "tcp", netip.AddrPortFrom(m.Address, uint16(port)).String())
		cancel()
		if err == nil {
			return c
		}
	}
	return nil
}

// join copies both ways until both have ended.
func join(a, b net.Conn) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		pour(a, b)
	}()
	pour(b, a)
	<-done
}

// pour copies until from ends, and tells to.
func pour(to, from net.Conn) {
	_, _ = io.Copy(to, from) // either end may break off: that is the other's to see
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// ParseForward reads PORT or PORT:MACHINEPORT.
func ParseForward(word string) (port, inner int, err error) {
	left, right, both := strings.Cut(word, ":")
	if port, err = parsePort(left); err != nil {
		return 0, 0, err
	}
	if !both {
		return port, port, nil
	}
	inner, err = parsePort(right)
	return port, inner, err
}

func parsePort(word string) (int, error) {
	n, err := strconv.ParseUint(word, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is no port: want 1 to 65535", word)
	}
	return int(n), nil
}
