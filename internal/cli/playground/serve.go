package playground

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// call is what a machine's init is asked over its socket: one call a connection. Its three standard files travel beside it.
type call struct {
	Args     []string       `json:",omitempty"`
	Env      []string       `json:",omitempty"`
	Dir      string         `json:",omitempty"`
	Terminal bool           `json:",omitempty"` // standard input is a terminal for this command alone
	Detach   bool           `json:",omitempty"` // answer at once; the command outlives the connection
	Signal   syscall.Signal `json:",omitempty"` // instead of a command: send this to PID
	PID      int            `json:",omitempty"`
	Wait     bool           `json:",omitempty"` // answer only when PID has ended
}

type reply struct {
	PID   int
	Code  int // exit status; 128 and the signal's number, if a signal ended it
	Error string
}

// children are the running commands that somebody waits for. Init is the parent of every orphan of its machine, so all waiting
// is done in one place, by number.
type children struct {
	mu   sync.Mutex // held over a start, so that a command that ends at once is found
	wait map[int][]chan syscall.WaitStatus
}

// serve answers calls until the process is killed.
func serve(l *net.UnixListener, b boot) error {
	c := &children{wait: map[int][]chan syscall.WaitStatus{}}
	dead := make(chan os.Signal, 1)
	signal.Notify(dead, syscall.SIGCHLD)
	// Caught and dropped, not ignored: an ignored signal stays ignored in every program that is started from here.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGPIPE)
	go func() {
		for range dead {
			c.reap()
		}
	}()
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return err
		}
		go c.answer(conn, b)
	}
}

func (c *children) reap() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if pid <= 0 {
			return
		}
		c.mu.Lock()
		for _, w := range c.wait[pid] {
			w <- status
		}
		delete(c.wait, pid)
		c.mu.Unlock()
	}
}

func (c *children) answer(conn *net.UnixConn, b boot) {
	defer conn.Close()
	in, files, err := receive(conn)
	defer closeAll(files)
	var out reply
	if err == nil {
		out, err = c.do(conn, in, files, b)
	}
	if err != nil {
		out.Error = err.Error()
	}
	// The caller may be gone: then nobody is left to tell.
	_ = json.NewEncoder(conn).Encode(out)
}

func (c *children) do(conn *net.UnixConn, in call, files []int, b boot) (reply, error) {
	if len(in.Args) == 0 {
		return c.signal(conn, in)
	}
	pid, ended, err := c.start(in, files, b)
	if err != nil || in.Detach {
		return reply{PID: pid}, err
	}
	gone := hangup(conn)
	select {
	case status := <-ended:
		return reply{PID: pid, Code: code(status)}, nil
	case <-gone:
		// Its session is its own, so this takes what it started along.
		_ = syscall.Kill(-pid, syscall.SIGKILL)
		return reply{PID: pid, Code: code(<-ended)}, nil
	}
}

// signal sends a signal and, if asked, waits until the process has ended. Only children can be waited for: the daemon is one.
func (c *children) signal(conn *net.UnixConn, in call) (reply, error) {
	ended := make(chan syscall.WaitStatus, 1)
	c.mu.Lock()
	err := syscall.Kill(in.PID, in.Signal)
	if err == nil && in.Wait {
		c.wait[in.PID] = append(c.wait[in.PID], ended)
	}
	c.mu.Unlock()
	if errors.Is(err, syscall.ESRCH) && in.Wait {
		return reply{PID: in.PID}, nil
	}
	if err != nil || !in.Wait {
		return reply{PID: in.PID}, err
	}
	select {
	case status := <-ended:
		return reply{PID: in.PID, Code: code(status)}, nil
	case <-hangup(conn):
		return reply{}, nil
	}
}

func (c *children) start(in call, files []int, b boot) (int, chan syscall.WaitStatus, error) {
	if len(files) != 3 {
		return 0, nil, fmt.Errorf("got %d files, want 3", len(files))
	}
	if err := os.Setenv("PATH", b.Path); err != nil {
		return 0, nil, err
	}
	path, err := exec.LookPath(in.Args[0])
	if err != nil {
		return 0, nil, err
	}
	attr := &syscall.ProcAttr{
		Dir: in.Dir, Env: b.environment(in.Env), Files: []uintptr{uintptr(files[0]), uintptr(files[1]), uintptr(files[2])},
		Sys: &syscall.SysProcAttr{Setsid: true, Setctty: in.Terminal},
	}
	if attr.Dir == "" {
		attr.Dir = "/"
	}
	ended := make(chan syscall.WaitStatus, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	pid, err := syscall.ForkExec(path, in.Args, attr)
	if err != nil {
		return 0, nil, fmt.Errorf("%s: %w", path, err)
	}
	c.wait[pid] = append(c.wait[pid], ended)
	return pid, ended, nil
}

// hangup is closed when the caller's end of conn is.
func hangup(conn *net.UnixConn) <-chan struct{} {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		var b [1]byte
		_, _ = conn.Read(b[:]) // a caller sends nothing after its call: this ends with the connection
	}()
	return gone
}

func code(s syscall.WaitStatus) int {
	if s.Signaled() {
		return 128 + int(s.Signal())
	}
	return s.ExitStatus()
}

// receive reads one call and the files beside it, which are kept as numbers: an os.File would change whether they block, and
// that is shared with the caller.
func receive(conn *net.UnixConn) (call, []int, error) {
	var in call
	var first [1]byte
	rights := make([]byte, unix.CmsgSpace(3*4))
	_, n, _, _, err := conn.ReadMsgUnix(first[:], rights)
	if err != nil {
		return in, nil, err
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil {
		return in, nil, err
	}
	var files []int
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return in, files, err
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
		}
		files = append(files, fds...)
	}
	return in, files, json.NewDecoder(conn).Decode(&in)
}

func closeAll(files []int) {
	for _, fd := range files {
		unix.Close(fd)
	}
}
