package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
	"github.com/rogpeppe/go-internal/testscript"

	"shoal/internal/cli/playground"
	"shoal/test/e2e/load"
)

// limit is how long a story waits for what it wants to see.
const limit = 60 * time.Second

var words = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"cluster": word(1, 2, cluster), "machines": word(1, 1, machines),
	"docker": docker, "tap": word(2, 2, tapWord), "on": on, "until": word(2, 99, until),
	"as": word(1, 1, as), "service": word(2, 2, service), "kept": word(1, 1, kept), "pick": word(1, 1, pick),
	"answers": word(2, 2, answers), "load": word(1, 9, loadWord), "spread": word(3, 99, spread), "flows": word(1, 3, flows), "sameport": word(2, 9, sameport), "let": word(2, 99, let),
	"off":      machine(func(_ *story, m *playground.Machine) error { return m.Off() }),
	"on-again": machine(func(s *story, m *playground.Machine) error { return errors.Join(m.Boot(), m.StartDaemon(s.ctx)) }),
	"wipe":     machine(wipe),
	"crash":    machine(func(s *story, m *playground.Machine) error { return m.EndDaemon(s.ctx, syscall.SIGKILL) }),
	"down":     machine(func(s *story, m *playground.Machine) error { return m.EndDaemon(s.ctx, syscall.SIGTERM) }),
	"up":       word(1, 9, up),
	"move":     word(1, 1, move),
	"cut":      machine(func(_ *story, m *playground.Machine) error { return m.Cut() }),
	"heal":     machine(func(_ *story, m *playground.Machine) error { return m.Heal() }),
}

func of(ts *testscript.TestScript) *story { return ts.Value(storyKey{}).(*story) }

// word makes a testscript word that takes between least and most arguments.
func word(least, most int, do func(*testscript.TestScript, *story, []string) error) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if len(args) < least || len(args) > most {
			ts.Fatalf("want %d to %d arguments", least, most)
		}
		err := do(ts, of(ts), args)
		if neg && err == nil {
			ts.Fatalf("succeeded, and should not have")
		}
		if !neg {
			ts.Check(err)
		}
	}
}

func machine(do func(*story, *playground.Machine) error) func(*testscript.TestScript, bool, []string) {
	return word(1, 1, func(_ *testscript.TestScript, s *story, args []string) error {
		m, err := s.Find(args[0])
		if err != nil {
			return err
		}
		return do(s, m)
	})
}

// up N [FLAG...]
func up(_ *testscript.TestScript, s *story, args []string) error {
	m, err := s.Find(args[0])
	if err != nil {
		return err
	}
	return m.StartDaemon(s.ctx, args[1:]...)
}

// move gives a machine another address in place of its own.
func move(ts *testscript.TestScript, s *story, args []string) error {
	m, err := s.Find(args[0])
	if err != nil {
		return err
	}
	b := m.Address.As4()
	b[3] += 100
	to := netip.AddrFrom4(b).String()
	ts.Setenv("MOVED", to)
	for _, change := range [][]string{{"del", m.Address.String() + "/24"}, {"add", to + "/24"}} {
		cmd := append([]string{"playground", "--dir", s.Dir, "exec", args[0], "ip", "addr"}, append(change, "dev", "eth0")...)
		if err := ts.Exec(s.Shoal, cmd...); err != nil {
			return err
		}
	}
	return nil
}

// wipe empties the disk of a machine that is off.
func wipe(_ *story, m *playground.Machine) error {
	if m.On() {
		return fmt.Errorf("%s is on", m.Name)
	}
	data := filepath.Join(m.Dir, "data")
	return errors.Join(os.RemoveAll(data), os.Mkdir(data, 0o711))
}

func cluster(ts *testscript.TestScript, s *story, args []string) error {
	var n [2]int
	for i, a := range args {
		var err error
		if n[i], err = strconv.Atoi(a); err != nil {
			return err
		}
	}
	return s.Up(s.ctx, n[0], n[1], func(what string) { ts.Logf("%s", what) })
}

func machines(_ *testscript.TestScript, s *story, args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	for i := range n {
		m, err := s.Machine(i + 1)
		if err != nil {
			return err
		}
		if err := errors.Join(m.Boot(), m.StartDaemon(s.ctx)); err != nil {
			return err
		}
	}
	return nil
}

// node takes an "@N" off args; node 1 without one.
func (s *story) node(args []string) (*playground.Machine, []string, error) {
	name := "1"
	if n, ok := strings.CutPrefix(args[0], "@"); ok {
		name, args = n, args[1:]
	}
	m, err := s.Find(name)
	return m, args, err
}

func (s *story) docker(ts *testscript.TestScript, args []string) error {
	m, args, err := s.node(args)
	if err != nil {
		return err
	}
	return ts.Exec(s.Shoal, append([]string{"-H", "unix://" + m.Socket()}, args...)...)
}

func docker(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 {
		ts.Fatalf("docker what?")
	}
	status(ts, neg, of(ts).docker(ts, args))
}

func on(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("on which machine, what?")
	}
	s := of(ts)
	status(ts, neg, ts.Exec(s.Shoal, append([]string{"playground", "--dir", s.Dir, "exec"}, args...)...))
}

func status(ts *testscript.TestScript, neg bool, err error) {
	if neg && err == nil {
		ts.Fatalf("succeeded, and should not have")
	}
	if !neg {
		ts.Check(err)
	}
}

// until repeats a docker command until its standard output matches.
func until(ts *testscript.TestScript, s *story, args []string) error {
	m, args, err := s.node(args)
	if err != nil {
		return err
	}
	re, err := regexp.Compile("(?m)" + args[0])
	if err != nil {
		return err
	}
	args = append([]string{"@" + strconv.Itoa(m.Number)}, args[1:]...)
	return s.wait(func() error {
		if err := s.docker(ts, args); err != nil {
			return err
		}
		if out := ts.ReadFile("stdout"); !re.MatchString(out) {
			return fmt.Errorf("no match for %q in:\n%s", re, out)
		}
		return nil
	})
}

// wait asks until ok returns nil; after the limit it returns ok's last error.
func (s *story) wait(ok func() error) error {
	over := time.After(limit)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok()
		if err == nil {
			return nil
		}
		select {
		case <-s.ctx.Done():
			return s.ctx.Err()
		case <-over:
			return fmt.Errorf("not within %v: %w", limit, err)
		case <-tick.C:
		}
	}
}

// tasks are the service's running ones, as the first reachable machine tells.
func (s *story) tasks(name string) ([]swarm.Task, error) {
	var errs []error
	for _, m := range s.Machines() {
		if !m.On() {
			continue
		}
		list, err := s.tasksAt(m, name)
		if err == nil {
			return list, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (s *story) tasksAt(m *playground.Machine, name string) ([]swarm.Task, error) {
	c, err := m.API()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
	defer cancel()
	list, err := c.TaskList(ctx, client.TaskListOptions{Filters: make(client.Filters).Add("service", name).Add("desired-state", "running")})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list.Items, func(t swarm.Task) bool { return t.Status.State != swarm.TaskStateRunning }), nil
}

// service NAME RUNNING/WANTED
func service(_ *testscript.TestScript, s *story, args []string) error {
	running, wanted, ok := strings.Cut(args[1], "/")
	if !ok {
		return fmt.Errorf("want RUNNING/WANTED, not %s", args[1])
	}
	return s.wait(func() error {
		list, err := s.tasks(args[0])
		if err != nil {
			return err
		}
		if got := strconv.Itoa(len(list)); got != running {
			return fmt.Errorf("service %s has %s running tasks, want %s of %s", args[0], got, running, wanted)
		}
		return nil
	})
}

func (s *story) containers(name string) ([]string, error) {
	list, err := s.tasks(name)
	var out []string
	for _, t := range list {
		if t.Status.ContainerStatus != nil {
			out = append(out, t.Status.ContainerStatus.ContainerID)
		}
	}
	slices.Sort(out)
	return out, err
}

func kept(_ *testscript.TestScript, s *story, args []string) error {
	if s.kept[args[0]] == nil {
		now, err := s.containers(args[0])
		s.kept[args[0]] = now
		return err
	}
	return s.wait(func() error {
		now, err := s.containers(args[0])
		if err == nil && !slices.Equal(now, s.kept[args[0]]) {
			err = fmt.Errorf("containers were %v, are %v", s.kept[args[0]], now)
		}
		return err
	})
}

// as NAME
func as(ts *testscript.TestScript, _ *story, args []string) error {
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
	return nil
}

func pick(ts *testscript.TestScript, s *story, args []string) error {
	if err := s.docker(ts, []string{"ps", "-q", "--no-trunc", "--filter", "label=com.docker.swarm.service.name=" + args[0]}); err != nil {
		return err
	}
	id, _, _ := strings.Cut(ts.ReadFile("stdout"), "\n")
	if id == "" {
		return fmt.Errorf("no container of %s on node 1", args[0])
	}
	ts.Setenv("VICTIM", id)
	return nil
}

// fromClient is an HTTP client in the client machine's network, with a new connection for each request.
func (s *story) fromClient() *http.Client {
	return &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: s.dialFrom(s.Client())}}
}

var hostField = regexp.MustCompile(`host=(\S+)`)

func answers(ts *testscript.TestScript, s *story, args []string) error {
	want, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	c := s.fromClient()
	heard := map[string]string{}
	err = s.wait(func() error {
		out, err := load.Get(s.ctx, c, args[1])
		if m := hostField.FindStringSubmatch(out); m != nil {
			heard[m[1]] = out
		}
		if len(heard) < want {
			return errors.Join(fmt.Errorf("%d of %d hosts have answered", len(heard), want), err)
		}
		return nil
	})
	for _, line := range heard {
		fmt.Fprint(ts.Stdout(), line)
	}
	return err
}

// let VAR [@N] ARG... sets a variable to what the docker CLI prints.
func let(ts *testscript.TestScript, s *story, args []string) error {
	if err := s.docker(ts, args[1:]); err != nil {
		return err
	}
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
	return nil
}
