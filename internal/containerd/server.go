package containerd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"shoal/internal/cluster"
)

const (
	namespace   = "shoal"
	bootLimit   = 90 * time.Second // to the first answer; 62 to 310 ms were seen after a crash, but a shim that hangs takes 5 s each
	bornLimit   = 10 * time.Second // to the first answer of one that an earlier daemon started just before its end
	dialLimit   = 20 * time.Second
	askEvery    = 5 * time.Millisecond   // while it boots
	watchEvery  = 500 * time.Millisecond // whether a child of an earlier daemon still lives
	firstDelay  = 50 * time.Millisecond  // before a dead child is started again; doubles
	longestWait = 10 * time.Second
	steady      = 30 * time.Second // a child that lived that long starts the delays over
	stopGrace   = 10 * time.Second
)

// Server is a containerd to talk to, for as long as the daemon lives.
type Server struct {
	cfg    Config
	client *client.Client
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{} // closed when the supervisor has ended

	mu   sync.Mutex
	pid  int           // of the child; 0: an external one, or none now
	dead chan struct{} // closed when the child has ended; nil: it is not ours by birth
}

// Start returns when containerd answers. With an error nothing is left running that it started.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	// The client connects when it must and again after each loss, so one serves all the server's lives.
	cl, err := client.New(cfg.socket(), client.WithDefaultNamespace(namespace), client.WithTimeout(dialLimit),
		client.WithExtraDialOpts([]grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			// A unix socket costs nothing to try: be back soon after the child is.
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.5, Jitter: 0.2, MaxDelay: 500 * time.Millisecond},
			MinConnectTimeout: time.Second,
		})}))
	if err != nil {
		return nil, fmt.Errorf("containerd at %s: %w", cfg.socket(), err)
	}
	s := &Server{cfg: cfg, client: cl, done: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if s.answers(ctx) {
		if cfg.Socket == "" {
			s.pid = s.find()
		}
	} else if cfg.Socket != "" {
		s.cancel()
		return nil, errors.Join(cluster.Errorf(errdefs.ErrUnavailable, "containerd does not answer at %s", cfg.Socket), cl.Close())
	} else if err := s.boot(ctx); err != nil {
		s.cancel()
		return nil, errors.Join(err, cl.Close())
	}
	if cfg.Socket == "" {
		go s.supervise()
	} else {
		close(s.done)
	}
	return s, nil
}

// Client returns the connection. It stays the same while the child is replaced; calls fail meanwhile with
// ErrUnavailable and work again afterwards.
func (s *Server) Client() *client.Client { return s.client }

// Pid is the child's process ID; 0: it runs by others' hands, or not at this moment.
func (s *Server) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pid
}

// Close lets go of the child, which runs on with its containers.
func (s *Server) Close() error {
	s.cancel()
	<-s.done
	return s.client.Close()
}

// Stop ends the child as well. Containers run on; the next Start finds them. An external containerd is left alone.
func (s *Server) Stop() error {
	err := s.Close()
	if pid := s.Pid(); pid > 0 {
		err = errors.Join(err, end(pid))
		os.Remove(s.cfg.pidFile())
	}
	return err
}

// end asks a process to end and waits for it, then kills it.
func end(pid int) error {
	p, err := os.FindProcess(pid) // by pidfd, so that it cannot be another one by now
	if err != nil {
		return nil
	}
	over := gone(pid)
	if err := p.Signal(syscall.SIGTERM); errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	t := time.NewTimer(stopGrace)
	defer t.Stop()
	select {
	case <-over:
		return nil
	case <-t.C:
		return p.Kill()
	}
}

// gone returns a channel that is closed when a process has ended, which may be nobody's child here.
func gone(pid int) <-chan struct{} {
	over := make(chan struct{})
	go func() {
		defer close(over)
		t := time.NewTicker(askEvery)
		defer t.Stop()
		for range t.C {
			if !alive(pid) {
				return
			}
		}
	}()
	return over
}

// alive says whether a process exists and is no zombie.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

// answers says whether someone serves the socket. A killed containerd leaves its socket's file, so that only an answer
// counts.
func (s *Server) answers(ctx context.Context) bool {
	conn, err := net.DialTimeout("unix", s.cfg.socket(), time.Second)
	if err != nil {
		return false // without a try by the client, which would make a pause of it
	}
	conn.Close()
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(ctx, namespace), time.Second)
	defer cancel()
	_, err = s.client.Version(ctx)
	return err == nil
}

// boot starts the child and waits until it answers.
func (s *Server) boot(ctx context.Context) error {
	path, err := s.cfg.write()
	if err != nil {
		return err
	}
	// Two on one root would harm each other. One may live that does not answer yet: its daemon was killed while it started.
	if old := s.find(); old > 0 {
		if err := s.awaitAnswer(ctx, gone(old), bornLimit); err == nil {
			s.mu.Lock()
			s.pid, s.dead = old, nil
			s.mu.Unlock()
			return os.WriteFile(s.cfg.pidFile(), []byte(strconv.Itoa(old)), 0o600)
		}
		if err := end(old); err != nil {
			return fmt.Errorf("end the containerd that does not answer: %w", err)
		}
	}
	if n, err := dropStrayLayers(ctx, s.cfg.Root); err != nil {
		s.cfg.Log.Warn("layers that containerd does not know were not looked for", "error", err)
	} else if n > 0 {
		s.cfg.Log.Info("removed layers that a killed containerd had not noted", "count", n)
	}
	logs, err := os.OpenFile(s.cfg.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("containerd's log: %w", err)
	}
	defer logs.Close()
	cmd := exec.Command(s.cfg.Binary, "-c", path)
	cmd.Stdout, cmd.Stderr = logs, logs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its own group, no Pdeathsig: it may outlive us
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start containerd: %w", err)
	}
	dead := make(chan struct{})
	go func() { _ = cmd.Wait(); close(dead) }()
	pid := cmd.Process.Pid
	if err := os.WriteFile(s.cfg.pidFile(), []byte(strconv.Itoa(pid)), 0o600); err != nil {
		return errors.Join(fmt.Errorf("containerd's pid file: %w", err), end(pid))
	}
	if err := s.awaitAnswer(ctx, dead, bootLimit); err != nil {
		return errors.Join(err, end(pid))
	}
	s.mu.Lock()
	s.pid, s.dead = pid, dead
	s.mu.Unlock()
	return nil
}

func (s *Server) awaitAnswer(ctx context.Context, dead <-chan struct{}, most time.Duration) error {
	limit := time.NewTimer(most)
	defer limit.Stop()
	ask := time.NewTicker(askEvery)
	defer ask.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.ctx.Done():
			return s.ctx.Err()
		case <-dead:
			return cluster.Errorf(errdefs.ErrUnavailable, "containerd ended while it started; its log is %s", s.cfg.logFile())
		case <-limit.C:
			return cluster.Errorf(errdefs.ErrUnavailable, "containerd did not answer in %s; its log is %s", most, s.cfg.logFile())
		case <-ask.C:
			if s.answers(ctx) {
				return nil
			}
		}
	}
}

// supervise starts the child again whenever it is gone. The child may be one that an earlier daemon started, which
// cannot be waited for: it is looked at instead.
func (s *Server) supervise() {
	defer close(s.done)
	look := time.NewTicker(watchEvery)
	defer look.Stop()
	delay, since := firstDelay, time.Now() // of the next start; of the last one
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.ended():
		case <-look.C:
		}
		if alive(s.Pid()) {
			continue
		}
		if time.Since(since) > steady {
			delay = firstDelay
		}
		s.cfg.Log.Warn("containerd has ended and is started again", "after", delay, "log", s.cfg.logFile())
		if !s.pause(delay) {
			return
		}
		delay, since = min(2*delay, longestWait), time.Now()
		if err := s.boot(s.ctx); err != nil && s.ctx.Err() == nil {
			s.cfg.Log.Error("containerd cannot be started", "error", err)
		}
	}
}

func (s *Server) ended() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dead
}

func (s *Server) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// find returns the process number of a containerd on this configuration, whoever started it; 0: there is none. The process
// table is asked, not the pid file: a daemon may have been killed between the start and the writing.
func (s *Server) find() int {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0
	}
	for _, d := range dirs {
		pid, err := strconv.Atoi(filepath.Base(d))
		if err == nil && isContainerd(pid, s.cfg.config()) && alive(pid) {
			return pid
		}
	}
	return 0
}

// isContainerd says whether a process was started on this configuration: the very file, since daemons in mount namespaces of
// their own (playgrounds, containers) have others by the same path.
func isContainerd(pid int, config string) bool {
	proc := fmt.Sprintf("/proc/%d", pid)
	b, err := os.ReadFile(proc + "/cmdline")
	if err != nil || !strings.HasSuffix(string(b), "\x00-c\x00"+config+"\x00") {
		return false
	}
	ours, err := os.Stat(config)
	if err != nil {
		return false
	}
	theirs, err := os.Stat(proc + "/root" + config)
	return err == nil && os.SameFile(ours, theirs)
}
