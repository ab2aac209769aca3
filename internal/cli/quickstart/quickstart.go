package quickstart

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/moby/moby/client"

	"shoal/internal/cli/playground"
)

// Config says where a quickstart happens.
type Config struct {
	Self       string // path of the shoal binary
	Dir        string // the playground's folder
	DefaultDir string // where a playground is looked for when no --dir is said: commands are shown without it then
	Port       int    // that the sample service is published on, and that leads to it on 127.0.0.1; default 8080
	Out        io.Writer
}

// Shape of the cluster.
const managers, workers = 3, 2

// Story is one run through the steps.
type Story struct {
	Config
	play *playground.Playground
	at   *playground.Machine // whose daemon is spoken to
	api  *client.Client      // of that daemon
}

// New checks what needs no look at the machine. Each refusal says what to do.
func New(c Config) (*Story, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("the quickstart makes namespaces and runs containers: run it as root (sudo make quickstart)")
	}
	if c.Port == 0 {
		c.Port = 8080
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, err
	}
	if c.Dir = dir; len(dir) > 60 {
		return nil, fmt.Errorf("folder %s is too long: a unix socket's path has 107 bytes at most, so choose 60 or fewer", dir)
	}
	return &Story{Config: c}, nil
}

// forwarder is the process that leads a port of this machine to the playground. Its file also marks a playground as the
// quickstart's own.
func (s *Story) forwarder() process {
	return process{pidFile: filepath.Join(s.Dir, "quickstart.pid"), log: filepath.Join(s.Dir, "quickstart.log")}
}

// Run tells the whole story. After an error what there is stays for a look; Remove removes it.
func (s *Story) Run(ctx context.Context) error {
	began := time.Now()
	if err := s.preflight(); err != nil {
		return err
	}
	defer func() {
		if s.api != nil {
			s.api.Close()
		}
	}()
	for _, step := range []func(context.Context) error{
		s.makeCluster, s.createService, s.askAround, s.scaleUp, s.killContainer, s.cutWorker, s.cutLeader,
	} {
		if err := step(ctx); err != nil {
			s.look(ctx)
			return fmt.Errorf("%w\n\nEach machine's log lies in %s/NAME/daemon.log. Remove what has been made with: %s", err, s.Dir, s.removeLine())
		}
	}
	s.farewell(time.Since(began))
	return nil
}

// speakTo makes m the machine whose daemon is spoken to.
func (s *Story) speakTo(m *playground.Machine) error {
	c, err := m.API()
	if err != nil {
		return err
	}
	if s.api != nil {
		s.api.Close()
	}
	s.at, s.api = m, c
	fmt.Fprintf(s.Out, "   $ export DOCKER_HOST=unix://%s\n", m.Socket())
	return nil
}

// look shows what there is after a step that failed, as far as a daemon answers.
func (s *Story) look(ctx context.Context) {
	if s.at == nil || ctx.Err() != nil || !s.at.Answers(ctx) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	s.title("This step failed. What there is")
	for _, args := range [][]string{{"node", "ls"}, {"service", "ps", "--no-trunc", service}} {
		if err := s.shoal(ctx, args...); err != nil {
			s.say("%v", err)
		}
	}
}

// machine returns the playground's machine of that name.
func (s *Story) machine(name string) (*playground.Machine, error) { return s.play.Find(name) }

// living are the machines that are on.
func (s *Story) living() []*playground.Machine {
	return slices.DeleteFunc(s.play.Machines(), func(m *playground.Machine) bool { return !m.On() })
}
