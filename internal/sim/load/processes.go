package load

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// process is one child. It says a line when it is ready, and later ones as it likes.
type process struct {
	name  string
	cmd   *exec.Cmd
	lines chan string // what it says; closed at its end
	log   string      // the file of its standard error
	done  chan struct{}
}

// nursery starts children that die with this process, however it ends.
type nursery struct {
	dir   string
	start chan func()
	mu    sync.Mutex
	all   []*process
}

// newNursery makes one whose children write their logs below dir. It must be closed.
func newNursery(dir string) *nursery {
	n := &nursery{dir: dir, start: make(chan func())}
	go func() {
		// The kernel kills a child when the thread that made it ends: that thread lives as long as the nursery.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for f := range n.start {
			f()
		}
	}()
	return n
}

// spawn starts a child, which reads input as JSON from its standard input.
func (n *nursery) spawn(name string, input any, args ...string) (*process, error) {
	in, err := json.Marshal(input)
	if err != nil {
		return nil, err
	}
	p := &process{name: name, log: filepath.Join(n.dir, name+".log"), lines: make(chan string, 16), done: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd = exec.Command(args[0], args[1:]...)
	p.cmd.Stdin, p.cmd.Stderr = strings.NewReader(string(in)), log
	// A group of its own: an interrupt at the terminal is this process's to handle.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	started := make(chan error)
	n.start <- func() { started <- p.cmd.Start() }
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go p.listen(out)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, p)
	return p, nil
}

// listen reads what the child says until it ends.
func (p *process) listen(out io.Reader) {
	defer close(p.done)
	defer close(p.lines)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		select {
		case p.lines <- lines.Text():
		default: // nobody waits for it
		}
	}
	p.cmd.Wait() //nolint:errcheck // it is killed in the end; whoever waits for its word learns that it is gone
}

// word waits for the child's next line.
func (p *process) word(ctx context.Context) error {
	select {
	case _, ok := <-p.lines:
		if !ok {
			return fmt.Errorf("%s ended: %s", p.name, p.lastWords())
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lastWords is the end of the child's log.
func (p *process) lastWords() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], "; ")
}

// kill ends the child as a power cut would, and waits until it is gone.
func (p *process) kill() error {
	err := p.cmd.Process.Kill()
	<-p.done
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// close kills all children.
func (n *nursery) close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var errs []error
	for _, p := range n.all {
		errs = append(errs, p.kill())
	}
	close(n.start)
	return errors.Join(errs...)
}

// yield lets other processes have the processors first.
func (p *process) yield(nice int) error {
	return syscall.Setpriority(syscall.PRIO_PGRP, p.cmd.Process.Pid, nice) // the group's: all threads that there are by now
}

// memory is the child's resident set now and at its largest, in bytes; 0 when it is gone.
func (p *process) memory() (now, peak int64) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(line, ":")
		kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			continue
		}
		switch key {
		case "VmRSS":
			now = kb << 10
		case "VmHWM":
			peak = kb << 10
		}
	}
	return now, peak
}

// cpuSeconds is the processor time that the child has taken.
func (p *process) cpuSeconds() float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	return float64(user+system) / 100 // the kernel counts in hundredths for every program
}
