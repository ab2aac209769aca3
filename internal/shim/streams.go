package shim

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"

	"shoal/internal/shim/wire"
)

// keeper is all that the shim holds for one container beside containerd's part.
type keeper struct {
	order wire.Order
	log   *log
	hub   *hub
	read  [2]*os.File // the reading ends of stdout and stderr; stderr is nil with a terminal
	in    *os.File    // the writing end of stdin; nil without
	inMu  sync.Mutex
	done  chan struct{} // closed when all output has been read

	started, ended atomic.Bool // of the container's first process

	exitOnce sync.Once
	mu       sync.Mutex
	oom      bool
}

// open makes the FIFOs in the bundle and names them in the request. The reading ends must be open before containerd's
// Create, which waits for a reader, and may be read only after it, since without a writer a read says EOF.
func open(o wire.Order, r *taskapi.CreateTaskRequest) (*keeper, error) {
	k := &keeper{order: o, log: newLog(o), done: make(chan struct{})}
	k.hub = &hub{once: o.StdinOnce && !r.Terminal, input: k.input}
	paths := []*string{&r.Stdout, &r.Stderr}
	if r.Terminal {
		paths = paths[:1]
	}
	for i, p := range paths {
		*p = filepath.Join(r.Bundle, []string{"stdout", "stderr"}[i])
		err := mkfifo(*p)
		if err == nil {
			k.read[i], err = os.OpenFile(*p, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		}
		if err != nil {
			k.close()
			return nil, fmt.Errorf("open output of container: %w", err)
		}
	}
	if o.Stdin {
		r.Stdin = filepath.Join(r.Bundle, "stdin")
		err := mkfifo(r.Stdin)
		if err == nil { // for both, so that the open does not wait for containerd's reader; never read here
			k.in, err = os.OpenFile(r.Stdin, os.O_RDWR|syscall.O_NONBLOCK, 0)
		}
		if err != nil {
			k.close()
			return nil, fmt.Errorf("open input of container: %w", err)
		}
	}
	return k, nil
}

func mkfifo(path string) error {
	if err := syscall.Mkfifo(path, 0o600); err != nil && !errors.Is(err, syscall.EEXIST) {
		return &os.PathError{Op: "mkfifo", Path: path, Err: err}
	}
	return nil
}

// begin starts reading; containerd's Create has returned.
func (k *keeper) begin() {
	var wg sync.WaitGroup
	for i, f := range k.read {
		if f != nil {
			wg.Go(func() { k.copy(f, wire.Stdout+byte(i)) })
		}
	}
	go func() {
		wg.Wait()
		k.hub.end()
		k.closeInput() // frees a client's write that nobody will read
		k.log.close()
		close(k.done)
	}()
}

// copy reads one stream to its end: attached clients get the bytes as they come, the log gets lines.
func (k *keeper) copy(f *os.File, stream byte) {
	defer f.Close()
	name := "stdout"
	if stream == wire.Stderr {
		name = "stderr"
	}
	buf := make([]byte, 0, 2*wire.MaxLine)
	for {
		n, err := f.Read(buf[len(buf):cap(buf)])
		now := time.Now()
		if n > 0 {
			k.hub.send(stream, buf[len(buf):len(buf)+n])
			buf = buf[:len(buf)+n]
			rest := buf
			for m := wire.CutLine(rest); m > 0; m = wire.CutLine(rest) {
				k.log.write(rest[:m], name, now)
				rest = rest[m:]
			}
			buf = buf[:copy(buf, rest)] // fewer than MaxLine bytes are left, so there is room
		}
		if err != nil {
			if len(buf) > 0 {
				k.log.write(buf, name, now)
			}
			if !errors.Is(err, io.EOF) {
				k.log.write(fmt.Appendf(nil, "shim: reading %s: %v\n", name, err), "stderr", now)
			}
			return
		}
	}
}

func (k *keeper) input() *os.File {
	k.inMu.Lock()
	defer k.inMu.Unlock()
	return k.in
}

func (k *keeper) closeInput() {
	k.inMu.Lock()
	defer k.inMu.Unlock()
	if k.in != nil {
		k.in.Close()
		k.in = nil
	}
}

// drained waits until all output has been read, or the time is over: a process that was moved out of the container's
// PID namespace may hold the output open for ever.
func (k *keeper) drained(limit time.Duration) {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-k.done:
	case <-t.C:
		k.hub.end()
	}
}

// close gives up before the container was made.
func (k *keeper) close() {
	for _, f := range k.read {
		if f != nil {
			f.Close()
		}
	}
	k.closeInput()
	k.hub.end()
}
