package quickstart

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a background process that outlives this one, known by a file with its number.
type process struct {
	pidFile, log string
}

// start runs args in a session of its own, and writes the pid file.
func (p process) start(args []string) error {
	for _, f := range []string{p.pidFile, p.log} {
		if err := os.MkdirAll(filepath.Dir(f), 0o700); err != nil {
			return err
		}
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	child, err := os.StartProcess(args[0], args, &os.ProcAttr{
		Dir: "/", Env: os.Environ(), Files: []*os.File{null, log, log}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	go child.Wait() //nolint:errcheck // only so that it leaves no zombie while this process lives
	return os.WriteFile(p.pidFile, []byte(strconv.Itoa(child.Pid)), 0o600)
}

// find returns the process if it lives and is an instance of the binary self.
func (p process) find(self string) (*os.Process, error) {
	b, err := os.ReadFile(p.pidFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(b)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.pidFile, err)
	}
	found, err := os.FindProcess(pid)
	if err != nil {
		return nil, err
	}
	// A number may have been given to another program since: only ours may get a signal.
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !strings.HasPrefix(string(line), self+"\x00") {
		return nil, nil
	}
	return found, nil
}

// end sends sig and waits until the process is gone. No process is no error.
func (p process) end(ctx context.Context, self string, sig syscall.Signal) error {
	found, err := p.find(self)
	if err != nil || found == nil {
		return err
	}
	if err := found.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return until(ctx, 30*time.Second, fmt.Sprintf("process %d does not end", found.Pid), func() (bool, error) {
		return errors.Is(found.Signal(syscall.Signal(0)), os.ErrProcessDone), nil
	})
}

// until asks ok ten times a second until it says yes, fails, or limit is over.
func until(ctx context.Context, limit time.Duration, why string, ok func() (bool, error)) error {
	over := time.NewTimer(limit)
	defer over.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		yes, err := ok()
		if yes || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-over.C:
			return fmt.Errorf("%s (waited %v)", why, limit)
		case <-tick.C:
		}
	}
}
