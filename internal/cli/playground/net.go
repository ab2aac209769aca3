package playground

import (
	"context"
	"fmt"
	"net"
	"runtime"

	"github.com/vishvananda/netns"
)

// Dial opens a connection from the machine's network. addr is a number, not a name: names are looked up on the host.
func (m *Machine) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var c net.Conn
	err := m.within(func() (err error) {
		c, err = new(net.Dialer).DialContext(ctx, network, addr)
		return err
	})
	return c, err
}

// Listen opens a listener in the machine's network, served by this process. It ends with either of them.
func (m *Machine) Listen(ctx context.Context, network, addr string) (net.Listener, error) {
	var l net.Listener
	err := m.within(func() (err error) {
		l, err = new(net.ListenConfig).Listen(ctx, network, addr)
		return err
	})
	return l, err
}

// Within runs f on a thread in the machine's network namespace, for sockets that Dial and Listen do not make.
func (m *Machine) Within(f func() error) error { return m.within(f) }

// within runs f on a thread in the machine's network namespace: a socket belongs to the namespace that it was made in.
func (m *Machine) within(f func() error) error {
	pid := m.pid()
	if pid == 0 {
		return fmt.Errorf("machine %s is off", m.Name)
	}
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return fmt.Errorf("machine %s: %w", m.Name, err)
	}
	defer ns.Close()
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the thread, changed for good, ends with this goroutine.
		runtime.LockOSThread()
		if err := netns.Set(ns); err != nil {
			done <- fmt.Errorf("machine %s: network namespace: %w", m.Name, err)
			return
		}
		done <- f()
	}()
	return <-done
}
