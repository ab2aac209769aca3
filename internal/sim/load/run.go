package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Manager says where one manager's process keeps its things and answers.
type Manager struct {
	Name    string
	Dir     string // its data root
	Socket  string // its API
	Profile string // see [Config]
}

// AgentProcess says what one process of agents does.
type AgentProcess struct {
	Agents
	Profile string
}

// The roles of children, the last word of their command line.
const (
	RoleManager = "manager"
	RoleAgents  = "agents"
)

// simulated is a simulated swarm.
type simulated struct {
	cfg      Config
	dir      string
	nursery  *nursery
	managers []*manager
	agents   []*process
	report   Report
}

// manager is a manager's process and the client of its API.
type manager struct {
	*process
	*client
	addr string // host:port of its port for nodes
}

// Run simulates a swarm as cfg says and returns what was measured. When it returns, no process and no file of it is left.
func Run(ctx context.Context, cfg Config) (_ Report, err error) {
	if err := cfg.check(); err != nil {
		return Report{}, err
	}
	dir, err := os.MkdirTemp(cfg.Dir, "shoal-simulate-")
	if err != nil {
		return Report{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s := &simulated{cfg: cfg, dir: dir, nursery: newNursery(dir)}
	s.report = Report{Managers: cfg.Managers, Agents: cfg.Agents, Tasks: cfg.Tasks, Services: cfg.Services}
	defer func() { err = errors.Join(err, s.nursery.close()) }()
	for _, step := range []func(context.Context) error{s.startManagers, s.startAgents, s.load, s.update, s.killLeader} {
		if err := step(ctx); err != nil {
			return s.report, err
		}
	}
	return s.report, nil
}

func (s *simulated) say(format string, args ...any) { s.cfg.Progress(fmt.Sprintf(format, args...)) }

// startManagers makes a swarm of managers alone. The first one leads it.
func (s *simulated) startManagers(ctx context.Context) error {
	for i := range s.cfg.Managers {
		m, err := s.startManager(ctx, i)
		if err != nil {
			return err
		}
		s.managers = append(s.managers, m)
	}
	first := s.managers[0]
	if err := first.init(ctx, first.addr); err != nil {
		return err
	}
	tokens, err := first.tokens(ctx)
	if err != nil {
		return err
	}
	for _, m := range s.managers[1:] {
		if err := m.join(ctx, m.addr, first.addr, tokens.Manager); err != nil {
			return err
		}
	}
	s.say("%d managers form a swarm", len(s.managers))
	return nil
}

func (s *simulated) startManager(ctx context.Context, i int) (*manager, error) {
	m := Manager{Name: fmt.Sprintf("manager%d", i+1), Profile: s.cfg.Profile}
	m.Dir = filepath.Join(s.dir, m.Name)
	m.Socket = filepath.Join(s.dir, m.Name+".sock")
	addr, err := freePort()
	if err != nil {
		return nil, err
	}
	p, err := s.nursery.spawn(m.Name, m, append(s.cfg.Child, RoleManager)...)
	if err != nil {
		return nil, err
	}
	err = p.word(ctx)
	return &manager{p, newClient(m.Socket), addr}, err
}

// freePort is a loopback address that nobody listens on now.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// agentNice makes the agents, which would have machines of their own, stand back behind the managers.
const agentNice = 15

// startAgents starts the agents and waits until all of them are READY.
func (s *simulated) startAgents(ctx context.Context) error {
	tokens, err := s.managers[0].tokens(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	var addrs []string
	for _, m := range s.managers {
		addrs = append(addrs, m.addr)
	}
	n := s.cfg.AgentProcesses
	for i := range n {
		from, to := i*s.cfg.Agents/n, (i+1)*s.cfg.Agents/n
		a := AgentProcess{Agents{First: from, Count: to - from, Token: tokens.Worker, Managers: addrs}, s.cfg.Profile}
		p, err := s.nursery.spawn(fmt.Sprintf("agents%d", i+1), a, append(s.cfg.Child, RoleAgents)...)
		if err != nil {
			return err
		}
		if err := p.yield(agentNice); err != nil {
			return err
		}
		s.agents = append(s.agents, p)
	}
	if err := s.waitReady(ctx, s.managers[0].client); err != nil {
		return err
	}
	s.report.JoinSeconds = time.Since(began).Seconds()
	s.say("%d agents are ready after %.1f s", s.cfg.Agents, s.report.JoinSeconds)
	return nil
}

// profile begins the children's profiles, or ends them and waits until they are written.
func (s *simulated) profile(ctx context.Context, begin bool) error {
	if s.cfg.Profile == "" {
		return nil
	}
	for _, p := range s.processes() {
		if err := p.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
			return fmt.Errorf("profile of %s: %w", p.name, err)
		}
		if begin {
			continue
		}
		if err := p.word(ctx); err != nil {
			return fmt.Errorf("profile of %s: %w", p.name, err)
		}
	}
	return nil
}

func (s *simulated) processes() []*process {
	var all []*process
	for _, m := range s.managers {
		all = append(all, m.process)
	}
	return append(all, s.agents...)
}
