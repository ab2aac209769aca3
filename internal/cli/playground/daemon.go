package playground

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Socket is the path of the daemon's API socket, the same inside and outside. It is gone when the machine is off.
func (m *Machine) Socket() string { return filepath.Join(m.Dir, daemonSocket) }

// Log is the path of the daemon's log.
func (m *Machine) Log() string { return filepath.Join(m.Dir, daemonLog) }

// StartDaemon starts the machine's daemon with the playground's flags and the given ones, and returns when it answers.
// Its state lies on the machine's disk; its exec root lies in the machine's own /run, and goes with a power cut.
func (m *Machine) StartDaemon(ctx context.Context, flags ...string) error {
	log, err := os.OpenFile(m.Log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	registry := m.of.Registry()
	args := []string{
		m.of.Shoal, "daemon", "--data-root", filepath.Join(m.Dir, "data"), "--exec-root", "/run/shoal",
		"--pidfile", filepath.Join(m.Dir, daemonPID), "-H", "unix:///run/shoal/shoal.sock", "-H", "unix://" + m.Socket(),
		"--insecure-registry", registry, "--registry-mirror", "http://" + registry, "--swarm-default-advertise-addr", m.Address.String(),
	}
	args = append(append(args, m.of.Flags...), flags...)
	pid, err := m.Spawn(ctx, Command{Args: args, Stdout: log, Stderr: log})
	if err != nil {
		return err
	}
	return m.ready(ctx, pid)
}

// ready waits until the daemon answers, or has ended.
func (m *Machine) ready(ctx context.Context, pid int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 60*time.Second, errors.New("it does not answer"))
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if m.Answers(ctx) {
			return nil
		}
		why := context.Cause(ctx)
		if m.Signal(ctx, pid, 0, false) != nil && ctx.Err() == nil {
			why = errors.New("it has ended")
		}
		if why != nil {
			return fmt.Errorf("daemon on machine %s: %w; the end of %s:\n%s", m.Name, why, m.Log(), tail(m.Log(), 10))
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// Answers says whether the machine's daemon answers a ping within two seconds.
func (m *Machine) Answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	t := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", m.Socket())
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://shoal/_ping", nil)
	if err != nil {
		return false
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// DaemonPID is the daemon's process number, as the machine counts; 0: it does not run.
func (m *Machine) DaemonPID() (int, error) {
	b, err := os.ReadFile(filepath.Join(m.Dir, daemonPID))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// EndDaemon sends the daemon s (SIGTERM: stop in good order; SIGKILL: crash) and returns when it is gone. Its containers run on.
func (m *Machine) EndDaemon(ctx context.Context, s syscall.Signal) error {
	pid, err := m.DaemonPID()
	if err != nil || pid == 0 {
		return fmt.Errorf("machine %s: the daemon does not run (%w)", m.Name, errors.Join(err))
	}
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	return m.Signal(ctx, pid, s, true)
}

func tail(file string, lines int) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
