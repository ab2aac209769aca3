package cli

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/containerd/console"

	"shoal/internal/cli/playground"
)

// onTerminal runs c on m. When this process's three standard files are one terminal, the command gets a terminal of its own, so
// that a shell has job control and Ctrl-C reaches the program that runs in it.
func onTerminal(ctx context.Context, m *playground.Machine, c playground.Command) (int, error) {
	own, err := console.ConsoleFromFile(os.Stdin)
	if err != nil {
		return m.Run(ctx, c)
	}
	if _, err := console.ConsoleFromFile(os.Stdout); err != nil {
		return m.Run(ctx, c)
	}
	master, path, err := console.NewPty()
	if err != nil {
		return 0, err
	}
	defer master.Close()
	slave, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return 0, err
	}
	if err := own.SetRaw(); err != nil {
		return 0, err
	}
	defer own.Reset() //nolint:errcheck // the terminal may be gone
	follow(ctx, own, master)
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		_, _ = io.Copy(os.Stdout, master) // ends with EIO when the last program has closed its end
	}()
	go func() { _, _ = io.Copy(master, os.Stdin) }()
	c.Stdin, c.Stdout, c.Stderr, c.Terminal = slave, slave, slave, true
	code, err := m.Run(ctx, c)
	slave.Close()
	select {
	case <-shown:
	case <-ctx.Done():
	}
	return code, err
}

// follow gives master the size of own, now and whenever it changes.
func follow(ctx context.Context, own, master console.Console) {
	_ = master.ResizeFrom(own) // a terminal without a size: the program takes its default
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	go func() {
		defer signal.Stop(changed)
		for {
			select {
			case <-ctx.Done():
				return
			case <-changed:
				_ = master.ResizeFrom(own)
			}
		}
	}()
}
