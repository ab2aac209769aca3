package quickstart

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/moby/moby/client"
)

// Config says where a quickstart happens.
type Config struct {
	Self     string // path of the shoal binary
	Dir      string // all state below this folder; empty: /var/lib/shoal and /run/shoal, as an installed daemon has them
	Port     int    // that the sample service is published on; default 8080
	Registry int    // loopback port of the sample image's registry; default 5000, or a free one if that is taken
	Out      io.Writer
}

// Story is one run through the steps.
type Story struct {
	Config
	api *client.Client
}

// New checks what a quickstart needs of this machine: root, a free port, no other daemon in the same place. Each refusal says
// what to do.
func New(c Config) (*Story, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("the quickstart runs containers: run it as root (sudo make quickstart)")
	}
	if c.Port == 0 {
		c.Port = 8080
	}
	if c.Dir != "" {
		dir, err := filepath.Abs(c.Dir)
		if err != nil {
			return nil, err
		}
		if c.Dir = dir; len(dir) > 60 {
			return nil, fmt.Errorf("folder %s is too long: a unix socket's path has 107 bytes at most, so choose 60 or fewer", dir)
		}
	}
	return &Story{Config: c}, nil
}

func (s *Story) dataRoot() string {
	if s.Dir == "" {
		return "/var/lib/shoal"
	}
	return filepath.Join(s.Dir, "data")
}

func (s *Story) execRoot() string {
	if s.Dir == "" {
		return "/run/shoal"
	}
	return filepath.Join(s.Dir, "run")
}

func (s *Story) socket() string    { return filepath.Join(s.execRoot(), "shoal.sock") }
func (s *Story) daemonPID() string { return filepath.Join(s.execRoot(), "shoal.pid") }
func (s *Story) sideDir() string   { return filepath.Join(s.dataRoot(), "quickstart") }
func (s *Story) daemonLog() string { return filepath.Join(s.sideDir(), "daemon.log") }
func (s *Story) registry() process {
	return process{pidFile: filepath.Join(s.sideDir(), "registry.pid"), log: filepath.Join(s.sideDir(), "registry.log")}
}
func (s *Story) loopback(p int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p)) }

// Run tells the whole story. After an error what there is stays for a look; Remove removes it.
func (s *Story) Run(ctx context.Context) error {
	began := time.Now()
	if err := s.preflight(); err != nil {
		return err
	}
	if err := os.MkdirAll(s.sideDir(), 0o700); err != nil {
		return err
	}
	c, err := client.New(client.WithHost("unix://" + s.socket()))
	if err != nil {
		return err
	}
	defer c.Close()
	s.api = c
	for _, step := range []func(context.Context) error{
		s.serveImage, s.startDaemon, s.makeSwarm, s.createService, s.askAround, s.scaleUp, s.killContainer, s.crashDaemon,
	} {
		if err := step(ctx); err != nil {
			s.look(ctx)
			return fmt.Errorf("%w\n\nThe daemon's log is %s. Remove what has been made with: %s", err, s.daemonLog(), s.removeLine())
		}
	}
	s.farewell(time.Since(began))
	return nil
}

// look shows what there is after a step that failed, as far as the daemon answers.
func (s *Story) look(ctx context.Context) {
	if !answers(s.socket()) {
		return
	}
	s.title("This step failed. What there is")
	for _, args := range [][]string{{"node", "ls"}, {"service", "ps", "--no-trunc", service}, {"ps"}} {
		if err := s.shoal(ctx, args...); err != nil {
			s.say("%v", err)
		}
	}
}

func (s *Story) preflight() error {
	if answers(s.socket()) {
		return fmt.Errorf("a daemon already answers at %s: use it, remove an earlier quickstart with %q, or choose another place with --dir",
			s.socket(), s.removeLine())
	}
	if !free(s.loopback(s.Port)) || !free(net.JoinHostPort("0.0.0.0", strconv.Itoa(s.Port))) {
		return fmt.Errorf("port %d of this machine is taken, and the sample service wants it: choose another with --port (make quickstart is 'bin/shoal quickstart')", s.Port)
	}
	if s.Registry != 0 && !free(s.loopback(s.Registry)) {
		return fmt.Errorf("port %d of 127.0.0.1 is taken: choose another for the sample registry with --registry-port", s.Registry)
	}
	if s.Registry == 0 {
		s.Registry = 5000
		if !free(s.loopback(5000)) {
			port, err := anyPort()
			if err != nil {
				return err
			}
			s.Registry = port
			s.say("Port 5000 is taken by another program; the sample registry uses %d.", port)
		}
	}
	return nil
}

// free says whether a TCP server may listen on addr.
func free(addr string) bool {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	l.Close()
	return true
}

func anyPort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(port)
}

// answers says whether somebody listens on a unix socket.
func answers(socket string) bool {
	c, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// ownAddress is the address that other machines could reach this one by; loopback if there is none.
func ownAddress() string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return "127.0.0.1"
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	return "127.0.0.1"
}
