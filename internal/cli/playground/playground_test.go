package playground

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestMain lets the test binary be the init of its own machines, and the programs that run on them.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == InitWord {
		os.Exit(Init(os.Args[2:]))
	}
	if len(os.Args) > 1 && os.Args[1] == "listen" {
		listen()
	}
	os.Exit(m.Run())
}

// listen greets every caller on TCP port 7000.
func listen() {
	l, err := net.Listen("tcp", ":7000")
	if err != nil {
		os.Exit(1)
	}
	os.Stdout.WriteString("listening\n")
	for {
		c, err := l.Accept()
		if err != nil {
			os.Exit(1)
		}
		io.WriteString(c, "hello")
		c.Close()
	}
}

func playground(t *testing.T) *Playground {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes namespaces: run it as root")
	}
	dir, err := os.MkdirTemp("/tmp", "pg")
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(Config{Dir: dir, Tied: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Remove(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", dir, err)
		}
	})
	return p
}

func machine(t *testing.T, p *Playground, n int) *Machine {
	t.Helper()
	m, err := p.Machine(n)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Boot(); err != nil {
		t.Fatal(err)
	}
	return m
}

// output runs a command on m and returns its exit status and what it wrote.
func output(t *testing.T, m *Machine, args ...string) (int, string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := make(chan string)
	go func() {
		b, _ := io.ReadAll(r)
		got <- strings.TrimSpace(string(b))
	}()
	code, err := m.Run(t.Context(), Command{Args: args, Stdout: w, Stderr: w})
	w.Close()
	text := <-got
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return code, text
}

func TestMachineIsItsOwn(t *testing.T) {
	m := machine(t, playground(t), 1)
	for _, c := range []struct {
		script, want string
		code         int
	}{
		{"hostname", "node1", 0},
		{"cat /etc/hostname", "node1", 0},
		{"echo $PPID", "1", 0},
		{"ls /run", "", 0},
		{"cat /proc/1/cgroup | cut -d: -f3 | sort -u", "/", 0},
		{"echo x >/etc/written; cat /etc/written", "x", 0},
		{"exit 7", "", 7},
		{"kill -9 $$", "", 137},
	} {
		code, got := output(t, m, "sh", "-c", c.script)
		if d := cmp.Diff([]any{c.code, c.want}, []any{code, got}); d != "" {
			t.Errorf("%s: %s", c.script, d)
		}
	}
	if _, err := os.Stat("/etc/written"); !os.IsNotExist(err) {
		t.Error("the machine wrote into the host's /etc")
	}
}

func TestPowerCutKeepsTheDiskAlone(t *testing.T) {
	m := machine(t, playground(t), 1)
	output(t, m, "sh", "-c", "echo disk >/etc/kept; echo memory >/run/lost")
	if _, err := m.Spawn(t.Context(), Command{Args: []string{"sleep", "1000"}}); err != nil {
		t.Fatal(err)
	}
	if err := m.Off(); err != nil {
		t.Fatal(err)
	}
	if m.On() {
		t.Fatal("still on")
	}
	if _, err := m.Run(t.Context(), Command{Args: []string{"true"}}); err == nil {
		t.Error("a machine without power ran a command")
	}
	if err := m.Boot(); err != nil {
		t.Fatal(err)
	}
	if _, got := output(t, m, "sh", "-c", "cat /etc/kept; ls /run; pgrep sleep"); got != "disk" {
		t.Errorf("after the power cut: %q, want only what was on the disk", got)
	}
}

// dial asks from's listener through the network, as the client machine sees it.
func dial(t *testing.T, from, to *Machine) bool {
	t.Helper()
	code, _ := output(t, from, "timeout", "1", "bash", "-c", "exec 3<>/dev/tcp/"+to.Address.String()+"/7000; cat <&3")
	return code == 0
}

func TestCutAndHeal(t *testing.T) {
	p := playground(t)
	m := machine(t, p, 1)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := m.Spawn(t.Context(), Command{Args: []string{p.Shoal, "listen"}, Stdout: w}); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if _, err := r.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if !dial(t, p.Client(), m) {
		t.Fatal("the client does not reach the machine")
	}
	if err := m.Cut(); err != nil {
		t.Fatal(err)
	}
	if m.Cable() == "in" || dial(t, p.Client(), m) {
		t.Error("the client reaches a machine that is cut off")
	}
	if err := m.Heal(); err != nil {
		t.Fatal(err)
	}
	if m.Cable() != "in" || !dial(t, p.Client(), m) {
		t.Error("the client does not reach the machine after healing")
	}
}

func TestSignalWaits(t *testing.T) {
	m := machine(t, playground(t), 1)
	pid, err := m.Spawn(t.Context(), Command{Args: []string{"sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Signal(t.Context(), pid, syscall.SIGTERM, true); err != nil {
		t.Fatal(err)
	}
	if err := m.Signal(t.Context(), pid, 0, false); err == nil {
		t.Error("the process lives on")
	}
}

func TestEndedContextKillsTheCommand(t *testing.T) {
	m := machine(t, playground(t), 1)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := m.Run(ctx, Command{Args: []string{"sleep", "1000"}}); err == nil {
		t.Error("no error")
	}
	limit := time.After(5 * time.Second)
	for {
		code, _ := output(t, m, "pgrep", "sleep")
		if code == 1 {
			return
		}
		select {
		case <-limit:
			t.Fatal("sleep runs on")
		default:
		}
	}
}

func TestOpenFindsWhatNewMade(t *testing.T) {
	p := playground(t)
	machine(t, p, 2)
	t.Chdir(filepath.Dir(p.Dir))
	q, err := Open(filepath.Base(p.Dir))
	if err != nil {
		t.Fatal(err)
	}
	if q.Dir != p.Dir {
		t.Errorf("opened %s, want %s: machines have other working directories", q.Dir, p.Dir)
	}
	m, err := q.Find("node2")
	if err != nil || !m.On() {
		t.Fatalf("machine %v (%v), want one that is on", m, err)
	}
	if _, err := New(Config{Dir: p.Dir}); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("a second playground in one folder: %v", err)
	}
}

func TestHierarchies(t *testing.T) {
	got := parseHierarchies("tmpfs /sys/fs/cgroup tmpfs rw 0 0\n" +
		"cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,relatime,cpu,cpuacct 0 0\n" +
		"cgroup /sys/fs/cgroup/systemd cgroup rw,xattr,release_agent=/lib/x,name=systemd 0 0\n" +
		"cgroup2 /sys/fs/cgroup/unified cgroup2 rw,nsdelegate 0 0\n")
	want := []hierarchy{
		{path: "/sys/fs/cgroup/cpu,cpuacct", opts: "cpu,cpuacct"},
		{path: "/sys/fs/cgroup/systemd", opts: "xattr,name=systemd"},
		{path: "/sys/fs/cgroup/unified", v2: true},
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(hierarchy{})); d != "" {
		t.Error(d)
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct{ name, dir, want string }{
		{"none", "", "want a path"},
		{"long", "/tmp/" + strings.Repeat("x", 60), "too long"},
		{"run", "/run/pg", "below /run"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := (&Config{Dir: c.dir}).check(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
		})
	}
}

func TestStartTimeTellsProcessesApart(t *testing.T) {
	if _, err := startTime(os.Getpid()); err != nil {
		t.Error(err)
	}
	if _, err := startTime(1 << 30); err == nil {
		t.Error("a process that cannot exist has a start time")
	}
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(os.Getpid()), "comm"))
	if err != nil || len(b) == 0 {
		t.Fatal(err)
	}
}
