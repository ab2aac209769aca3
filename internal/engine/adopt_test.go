package engine

import (
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
)

// Daemon and containerd die; some containers end meanwhile and some run on. Nothing of them is lost.
func TestAdoptAfterBothDied(t *testing.T) {
	r := newRig(t)
	short := r.run("short", nil, "tick", "700ms", "41")
	long := r.run("long", nil, "tick", "1h", "0")
	idle := r.create("idle", nil, "exit", "3")
	r.line(long, "tick 3")
	pid := long.Record().State.Pid
	// The engine lets go without a word to anybody, as a kill would have it; containerd really is killed.
	r.Close()
	child := r.server.Pid()
	r.server.Close()
	if err := syscall.Kill(child, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "the short one's exit record", func() bool { _, err := os.Stat(filepath.Join(short.Dir(), "exit.json")); return err == nil })
	stray := filepath.Join(r.dir, "d/containers", strings.Repeat("a", 64))
	if err := os.MkdirAll(stray, 0o700); err != nil {
		t.Fatal(err)
	}
	b, _ := build()
	r.startContainerd(b)
	r.reopen()
	found := func(name string) *Container {
		c, err := r.Find(name)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	out, code := r.finish(found("short"))
	if lines := strings.Count(out, "\n"); code != 41 || !strings.HasSuffix(out, "tick "+strconv.Itoa(lines-1)+"\n") || lines < 20 {
		t.Fatalf("code %d, output ends %q", code, out[max(0, len(out)-60):])
	}
	if s := found("long").Record().State; !s.Running() || s.Pid != pid {
		t.Fatalf("the long one: %+v, had pid %d", s, pid)
	}
	id, err := r.ExecCreate(t.Context(), "long", container.ExecCreateRequest{Cmd: []string{"/app", "exit", "7"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.ExecStart(t.Context(), id, Streams{}, false, nil); err != nil {
		t.Fatalf("a command in the long one: %v", err)
	}
	if x, err := r.ExecInspect(id); err != nil || x.ExitCode == nil || *x.ExitCode != 7 {
		t.Fatalf("a command in the long one: %+v, %v", x, err)
	}
	if err := r.Kill(t.Context(), "long", ""); err != nil {
		t.Fatal(err)
	}
	if s := found("long").Record().State; s.ExitCode != 137 || s.Status != container.StateExited {
		t.Fatalf("the long one after kill: %+v", s)
	}
	if err := r.Start(t.Context(), idle.ID()); err != nil {
		t.Fatal(err)
	}
	if _, code := r.finish(found("idle")); code != 3 {
		t.Fatalf("the one that had not run: %d", code)
	}
	if _, err := os.Stat(stray); !os.IsNotExist(err) {
		t.Fatalf("a directory without a record: %v", err)
	}
}

// containerd alone dies: the supervisor starts it again and the engine goes on by itself.
func TestContainerdDies(t *testing.T) {
	r := newRig(t)
	ends := r.run("ends", nil, "tick", "400ms", "12")
	stays := r.run("stays", nil, "wait", "15", "13")
	r.line(stays, "ready")
	old := r.server.Pid()
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if s := r.ended(ends); s.ExitCode != 12 {
		t.Fatalf("%+v", s)
	}
	await(t, "a new containerd", func() bool { p := r.server.Pid(); return p != 0 && p != old })
	if err := r.Stop(t.Context(), stays.ID(), StopOptions{}); err != nil {
		t.Fatal(err)
	}
	if s := stays.Record().State; s.ExitCode != 13 {
		t.Fatalf("%+v", s)
	}
}

// await looks every few milliseconds until something outside of this process is so.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.After(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("not so after 20 s: %s", what)
		}
	}
}

// TestStopOfOneThatEndedUnseen: between its adoption and the note of its end a container has no task, and somebody may ask for
// its stop: a node that comes back after a power cut is told to stop what has moved away.
func TestStopOfOneThatEndedUnseen(t *testing.T) {
	e := &Engine{cfg: Config{DataRoot: t.TempDir()}, log: slog.New(slog.DiscardHandler)}
	c := newContainer(e, Record{
		ID: strings.Repeat("a", 64), Config: &container.Config{}, HostConfig: &container.HostConfig{}, State: State{Status: container.StateRunning},
	})
	if err := os.MkdirAll(c.Dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	r := &run{done: make(chan struct{})}
	c.run = r
	stopped := make(chan error, 1)
	go func() { stopped <- c.halt(t.Context(), StopOptions{}) }()
	select {
	case err := <-stopped:
		t.Fatalf("stopped before its end is noted: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(r.done)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}
