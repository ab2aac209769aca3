package torture

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"shoal/internal/cli/playground"
	"shoal/test/machines"
)

// processesWord makes the test binary print the processes of the machine that it runs on.
const processesWord = "torture-processes"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == processesWord {
		if err := json.NewEncoder(os.Stdout).Encode(processes()); err != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// rig is one machine with a registry in reach, and what the tests do to its daemon.
type rig struct {
	*testing.T
	play    *playground.Playground
	machine *playground.Machine
	docker  *client.Client
	image   string
	pid     int // of the daemon that was started last, as the machine counts
}

// newRig boots a machine whose daemon does not run yet.
func newRig(t *testing.T, subnet string) *rig {
	t.Helper()
	p := machines.New(t, subnet, 0)
	r := &rig{T: t, play: p, image: p.Registry() + "/web:v1"}
	t.Cleanup(func() {
		if t.Failed() {
			r.tell(r.log(), 60)
			r.tell(filepath.Join(r.machine.Dir, "data", "containerd", "containerd.log"), 60)
		}
		if err := p.Remove(); err != nil {
			t.Error(err)
		}
	})
	var err error
	if r.machine, err = p.Machine(1); err != nil {
		t.Fatal(err)
	}
	if err := r.machine.Boot(); err != nil {
		t.Fatal(err)
	}
	registry := playground.Command{Args: []string{p.Shoal, "sample", "registry", "--addr", p.Registry()}}
	if _, err := p.Switch().Spawn(t.Context(), registry); err != nil {
		t.Fatal(err)
	}
	if r.docker, err = client.New(client.WithHost("unix://" + r.machine.Socket())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.docker.Close() })
	return r
}

func (r *rig) log() string     { return r.machine.Log() }
func (r *rig) exec() string    { return filepath.Join(r.machine.Dir, "x") }
func (r *rig) data() string    { return filepath.Join(r.machine.Dir, "data") }
func (r *rig) pidFile() string { return filepath.Join(r.machine.Dir, "daemon.pid") }

// tell puts the end of a file into the test's log.
func (r *rig) tell(file string, lines int) {
	b, err := os.ReadFile(file)
	if err != nil {
		return
	}
	all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	r.Logf("the end of %s:\n%s", file, strings.Join(all[max(0, len(all)-lines):], "\n"))
}

// launch starts the daemon and does not wait for it.
func (r *rig) launch() {
	r.Helper()
	log, err := os.OpenFile(r.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		r.Fatal(err)
	}
	defer log.Close()
	r.pid, err = r.machine.Spawn(r.Context(), playground.Command{Stdout: log, Stderr: log, Args: []string{
		r.play.Shoal, "daemon", "--data-root", r.data(), "--exec-root", r.exec(), "--pidfile", r.pidFile(),
		"-H", "unix://" + r.machine.Socket(), "--insecure-registry", r.play.Registry(),
		"--swarm-default-advertise-addr", r.machine.Address.String(),
	}})
	if err != nil {
		r.Fatal(err)
	}
}

// alive says whether the daemon that was started last still runs.
func (r *rig) alive() bool { return r.machine.Signal(r.Context(), r.pid, 0, false) == nil }

// ready waits until the daemon answers for the swarm's objects; it is an error if it ends first.
func (r *rig) ready() {
	r.Helper()
	r.await(60*time.Second, "the daemon does not answer", func() (bool, string) {
		if !r.alive() {
			r.Fatal("the daemon has ended by itself")
		}
		return r.machine.Answers(r.Context()), ""
	})
}

// kill sends SIGKILL to the daemon and returns when it is gone.
func (r *rig) kill() {
	r.Helper()
	if err := r.machine.Signal(r.Context(), r.pid, syscall.SIGKILL, true); err != nil {
		r.Fatal(err)
	}
}

// containerd is the process number of the private containerd, as the machine counts; 0: it has not been started yet.
func (r *rig) containerd() int {
	b, err := os.ReadFile(filepath.Join(r.exec(), "containerd", "containerd.pid"))
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return pid
}

// init makes the machine a swarm of one.
func (r *rig) init() {
	r.Helper()
	r.launch()
	r.ready()
	if _, err := r.docker.SwarmInit(r.Context(), client.SwarmInitOptions{ListenAddr: "0.0.0.0:2377"}); err != nil {
		r.Fatal(err)
	}
}

// await asks ok until it says yes, and fails with what ok said last when limit is over.
func (r *rig) await(limit time.Duration, what string, ok func() (bool, string)) {
	r.Helper()
	over := time.NewTimer(limit)
	defer over.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		yes, why := ok()
		if yes {
			return
		}
		select {
		case <-over.C:
			r.Fatalf("%s (waited %v): %s", what, limit, why)
		case <-r.Context().Done():
			r.Fatal(r.Context().Err())
		case <-tick.C:
		}
	}
}

// run runs a command on the machine and returns what it wrote. Its status must be 0.
func (r *rig) run(args ...string) string {
	r.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		r.Fatal(err)
	}
	defer read.Close()
	got := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(read)
		got <- string(b)
	}()
	code, err := r.machine.Run(r.Context(), playground.Command{Args: args, Stdout: write, Stderr: write})
	write.Close()
	text := <-got
	if err != nil || code != 0 {
		r.Fatalf("%v: status %d, %v: %s", args, code, err, text)
	}
	return text
}

// pause returns after d, or false when ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// number reads a number from the environment.
func number(t *testing.T, name string, otherwise int64) int64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}
