package playground

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Command is a program to run on a machine. Its files are the caller's own; nil stands for /dev/null.
type Command struct {
	Args                  []string
	Env                   []string // beside PATH, HOME, HOSTNAME and LANG
	Dir                   string   // default "/"
	Stdin, Stdout, Stderr *os.File
	Terminal              bool // Stdin is a terminal that nobody else controls
}

// Run runs c on the machine, inside its namespaces and control groups, and returns the exit status: 128 and the number for a
// signal. When ctx ends, the command and all that it started in its session are killed. An error means that it did not run.
func (m *Machine) Run(ctx context.Context, c Command) (int, error) {
	out, err := m.ask(ctx, call{Args: c.Args, Env: c.Env, Dir: c.Dir, Terminal: c.Terminal}, c.Stdin, c.Stdout, c.Stderr)
	return out.Code, err
}

// Spawn starts c on the machine and leaves it running. It returns its process number there.
func (m *Machine) Spawn(ctx context.Context, c Command) (int, error) {
	out, err := m.ask(ctx, call{Args: c.Args, Env: c.Env, Dir: c.Dir, Detach: true}, c.Stdin, c.Stdout, c.Stderr)
	return out.PID, err
}

// Signal sends s to process pid, as the machine counts. With wait it returns when the process has ended; pid must then be of
// something that Spawn started. A process that is gone already is no error when waited for.
func (m *Machine) Signal(ctx context.Context, pid int, s syscall.Signal, wait bool) error {
	_, err := m.ask(ctx, call{PID: pid, Signal: s, Wait: wait}, nil, nil, nil)
	return err
}

func (m *Machine) ask(ctx context.Context, in call, files ...*os.File) (reply, error) {
	if !m.On() {
		return reply{}, fmt.Errorf("machine %s is off", m.Name)
	}
	if m.Paused() {
		return reply{}, fmt.Errorf("machine %s is paused", m.Name)
	}
	var d net.Dialer
	raw, err := d.DialContext(ctx, "unix", filepath.Join(m.Dir, initSocket))
	if err != nil {
		return reply{}, fmt.Errorf("machine %s: %w", m.Name, err)
	}
	conn, ok := raw.(*net.UnixConn)
	if !ok {
		return reply{}, fmt.Errorf("machine %s: not a unix socket", m.Name)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	out, err := exchange(conn, in, files)
	switch {
	case ctx.Err() != nil:
		return out, ctx.Err()
	case err != nil:
		return out, fmt.Errorf("machine %s: %w (has its power been cut?)", m.Name, err)
	case out.Error != "":
		return out, fmt.Errorf("machine %s: %w", m.Name, errors.New(out.Error))
	}
	return out, nil
}

func exchange(conn *net.UnixConn, in call, files []*os.File) (reply, error) {
	var out reply
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return out, err
	}
	defer null.Close()
	fds := make([]int, len(files))
	for i, f := range files {
		if f == nil {
			f = null
		}
		raw, err := f.SyscallConn()
		if err != nil {
			return out, err
		}
		// Not f.Fd(), which would make the file block its thread for good.
		if err := raw.Control(func(fd uintptr) { fds[i] = int(fd) }); err != nil {
			return out, err
		}
	}
	if _, _, err := conn.WriteMsgUnix([]byte{0}, unix.UnixRights(fds...), nil); err != nil {
		return out, err
	}
	if err := json.NewEncoder(conn).Encode(in); err != nil {
		return out, err
	}
	return out, json.NewDecoder(conn).Decode(&out)
}
