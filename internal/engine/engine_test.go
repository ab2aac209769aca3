package engine

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/go-units"
	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

type (
	config = container.Config
	host   = container.HostConfig
)

// One engine serves the containers that leave it as it is; each subtest makes its own.
func TestContainers(t *testing.T) {
	r := newRig(t)
	sub := func(name string, f func(*testing.T, *rig)) {
		t.Run(name, func(t *testing.T) { f(t, &rig{t: t, dir: r.dir, server: r.server, images: r.images, Engine: r.Engine}) })
	}
	sub("ExitCodeAndStreams", testExitCode)
	sub("Options", testOptions)
	sub("Mounts", testMounts)
	sub("CommandsThatCannotRun", testBadCommands)
	sub("OOM", testOOM)
	sub("StopGrace", testStopGrace)
	sub("Init", testInit)
	sub("Names", testNames)
	sub("RestartPolicy", testRestartPolicy)
	sub("AutoRemove", testAutoRemove)
	sub("PauseAndWait", testPauseAndWait)
	sub("Logs", testLogs)
	sub("Health", testHealth)
	sub("Task", testTask)
	sub("TaskSpeed", testTaskSpeed)
}

func testExitCode(t *testing.T, r *rig) {
	c := r.run("", nil, "exit", "7")
	out, code := r.finish(c)
	if code != 7 || !strings.Contains(out, "out: ending with 7") || !strings.Contains(out, "err: ending with 7") {
		t.Fatalf("code %d, output %q", code, out)
	}
	var streams []string
	for l, err := range r.Logs(t.Context(), c.ID(), LogOptions{Stderr: true, Tail: -1}) {
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, l.Stream)
	}
	if d := cmp.Diff([]string{"stderr"}, streams); d != "" {
		t.Fatal(d)
	}
	if err := r.Remove(t.Context(), c.ID(), RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Find(c.ID()); !errdefs.IsNotFound(err) {
		t.Fatalf("after removal: %v", err)
	}
	if _, err := os.Stat(c.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("directory after removal: %v", err)
	}
}

func testOptions(t *testing.T, r *rig) {
	out, _ := r.output(func(c *config, h *host) {
		c.User, c.WorkingDir, c.Hostname, h.GroupAdd = "fish", "/srv/deep", "reefhost", []string{"bay"}
	}, "who")
	if want := "1 1234 1235 reefhost /srv/deep /app\n"; out != want {
		t.Errorf("who: %q, want %q", out, want)
	}
	out, _ = r.output(func(c *config, h *host) { c.User = "fish"; c.Env = []string{"A=b", "FROM=me"} }, "env")
	for _, want := range []string{"A=b", "FROM=me", "PATH=/", "HOME=/home/fish"} {
		if !slices.Contains(strings.Split(out, "\n"), want) {
			t.Errorf("no %s in environment %q", want, out)
		}
	}
	pids := int64(50)
	out, _ = r.output(func(c *config, h *host) {
		h.ReadonlyRootfs = true
		h.CapDrop, h.CapAdd = []string{"ALL"}, []string{"net_admin"}
		h.Ulimits = []*units.Ulimit{{Name: "nofile", Soft: 1234, Hard: 2345}}
		h.OomScoreAdj, h.PidsLimit, h.Memory, h.NanoCPUs = 321, &pids, 64<<20, 5e8
	}, "cat", "/proc/self/status", "/proc/self/limits", "/proc/self/oom_score_adj", "/sys/fs/cgroup/memory/memory.limit_in_bytes",
		"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/pids/pids.max", "/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu.max")
	fields := strings.Join(strings.Fields(out), " ")
	for _, want := range []string{"CapBnd: 0000000000001000", "NoNewPrivs: 0", "Seccomp: 2", " 2345 files ", " 321 ", " 67108864 ", " 50 ", " 50000 "} {
		if !strings.Contains(fields+" ", want) {
			t.Errorf("no %q in %s", want, fields)
		}
	}
	if out, code := r.output(func(c *config, h *host) { h.ReadonlyRootfs = true }, "write", "/x"); code != 1 || !strings.Contains(out, "read-only") {
		t.Errorf("write to a read-only root: %d %q", code, out)
	}
	out, _ = r.output(func(c *config, h *host) { h.ExtraHosts = []string{"extra.example:10.9.8.7"} }, "cat", "/etc/hosts")
	if !strings.Contains(out, "10.9.8.7\textra.example\n") {
		t.Errorf("hosts: %q", out)
	}
}

func testMounts(t *testing.T, r *rig) {
	src := t.TempDir()
	out, code := r.output(func(c *config, h *host) {
		h.Binds = []string{src + ":/b", src + ":/bro:ro", "named:/data", src + "/made/here:/made"}
		h.Tmpfs = map[string]string{"/t": "size=1m,mode=1777"}
	}, "write", "/b/file")
	if code != 0 {
		t.Fatalf("write to a bind: %q", out)
	}
	if _, err := os.Stat(src + "/made/here"); err != nil {
		t.Errorf("-v makes a missing source: %v", err)
	}
	if out, _ = r.output(func(c *config, h *host) { h.Binds = []string{src + ":/b:ro"} }, "write", "/b/file"); !strings.Contains(out, "read-only") {
		t.Errorf("write to a read-only bind: %q", out)
	}
	if out, _ = r.output(func(c *config, h *host) { h.Binds = []string{"named:/data"} }, "cat", "/data/first"); out != "from the image" {
		t.Errorf("the image's files in a volume: %q", out)
	}
	_, _, err := r.Create(t.Context(), CreateRequest{
		Config:     &config{Image: "app", Cmd: []string{"who"}},
		HostConfig: &host{Mounts: []mount.Mount{{Type: mount.TypeBind, Source: "relative", Target: "/x"}}},
	})
	if !errdefs.IsInvalidArgument(err) {
		t.Errorf("relative source: %v", err)
	}
	c := r.create("", func(c *config, h *host) {
		h.Mounts = []mount.Mount{{Type: mount.TypeBind, Source: src + "/absent", Target: "/x"}}
	}, "who")
	if err := r.Start(t.Context(), c.ID()); err == nil || err.Error() != `invalid mount config for type "bind": bind source path does not exist: `+src+"/absent" {
		t.Errorf("missing source of --mount: %v", err)
	}
	c2 := r.create("", func(c *config, _ *host) { c.User = "nobodyhere" }, "who")
	if err := r.Start(t.Context(), c2.ID()); err == nil || err.Error() != "unable to find user nobodyhere: no matching entries in passwd file" {
		t.Errorf("a user that the image has not: %v", err)
	}
	anonymous := c.Record().Mounts[0].Name
	if err := r.Remove(t.Context(), c.ID(), RemoveOptions{Volumes: true}); err != nil {
		t.Fatal(err)
	}
	if err := r.cfg.Volumes.Remove(anonymous, false); !errdefs.IsNotFound(err) {
		t.Errorf("anonymous volume after rm -v: %v", err)
	}
}

func testBadCommands(t *testing.T, r *rig) {
	for _, c := range []struct {
		command string
		code    int
	}{{"/nope", 127}, {"nope", 127}, {"/plain", 126}, {"/etc", 126}} {
		ctr := r.create("", func(x *config, h *host) { x.Entrypoint = []string{c.command} })
		err := r.Start(t.Context(), ctr.ID())
		s := ctr.Record().State
		if !errdefs.IsInvalidArgument(err) || s.ExitCode != c.code || s.Status != container.StateCreated || s.Error == "" {
			t.Errorf("%s: code %d, status %s, error %v", c.command, s.ExitCode, s.Status, err)
		}
	}
}

func testOOM(t *testing.T, r *rig) {
	c := r.run("", func(c *config, h *host) { h.Memory = 16 << 20 }, "eat", "200")
	if s := r.ended(c); s.ExitCode != 137 || !s.OOMKilled {
		t.Fatalf("state %+v", s)
	}
}

func testStopGrace(t *testing.T, r *rig) {
	c := r.run("", func(c *config, h *host) { c.StopSignal = "SIGINT" }, "wait", strconv.Itoa(int(syscall.SIGINT)), "5")
	r.line(c, "ready")
	if err := r.Stop(t.Context(), c.ID(), StopOptions{}); err != nil {
		t.Fatal(err)
	}
	if s := c.Record().State; s.ExitCode != 5 {
		t.Fatalf("after the stop signal: %+v", s)
	}
	stubborn := r.run("", nil, "wait")
	r.line(stubborn, "ready")
	grace, began := 300*time.Millisecond, time.Now()
	if err := r.Stop(t.Context(), stubborn.ID(), StopOptions{Timeout: &grace}); err != nil {
		t.Fatal(err)
	}
	if s := stubborn.Record().State; s.ExitCode != 137 || time.Since(began) < grace {
		t.Fatalf("after the grace: %+v, %s", s, time.Since(began))
	}
	if err := r.Stop(t.Context(), stubborn.ID(), StopOptions{}); !errors.Is(err, ErrNotModified) {
		t.Fatalf("a second stop: %v", err)
	}
}

func testInit(t *testing.T, r *rig) {
	yes := true
	out, code := r.output(func(c *config, h *host) { h.Init = &yes }, "who")
	if pid, _, _ := strings.Cut(out, " "); code != 0 || pid == "1" || pid == "" {
		t.Fatalf("with an init the command is not process 1: %q (%d)", out, code)
	}
	if _, code = r.output(func(c *config, h *host) { h.Init = &yes }, "exit", "9"); code != 9 {
		t.Fatalf("code through init: %d", code)
	}
	c := r.run("", func(c *config, h *host) { h.Init = &yes }, "wait", "15", "6")
	r.line(c, "ready")
	if err := r.Stop(t.Context(), c.ID(), StopOptions{}); err != nil || c.Record().State.ExitCode != 6 {
		t.Fatalf("a signal through init: %v, %+v", err, c.Record().State)
	}
}

func testNames(t *testing.T, r *rig) {
	c := r.create("pike", nil, "who")
	_, _, err := r.Create(t.Context(), CreateRequest{Name: "pike", Config: &config{Image: "app", Cmd: []string{"who"}}})
	want := fmt.Sprintf("Conflict. The container name \"/pike\" is already in use by container %q. You have to remove (or rename) that container to be able to reuse that name.", c.ID())
	if !errdefs.IsConflict(err) || err.Error() != want {
		t.Fatalf("second of a name: %v", err)
	}
	if err := r.Rename(t.Context(), "pike", "tench"); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"tench", "/tench", c.ID(), c.ID()[:10]} {
		if got, err := r.Find(ref); err != nil || got != c {
			t.Errorf("find %s: %v", ref, err)
		}
	}
	if _, err := r.Find("pike"); !errdefs.IsNotFound(err) || err.Error() != "No such container: pike" {
		t.Errorf("the old name: %v", err)
	}
}

func testRestartPolicy(t *testing.T, r *rig) {
	c := r.run("", func(c *config, h *host) {
		h.RestartPolicy = container.RestartPolicy{Name: "on-failure", MaximumRetryCount: 2}
	}, "exit", "3")
	rec := r.until(c, "restarted twice and given up", func(s State) bool { return s.Status == container.StateExited && s.Restarts == 2 })
	if rec.State.ExitCode != 3 {
		t.Fatalf("%+v", rec.State)
	}
	c = r.run("", func(c *config, h *host) { h.RestartPolicy = container.RestartPolicy{Name: "always"} }, "exit", "0")
	r.until(c, "restarting", func(s State) bool { return s.Restarts >= 1 })
	r.Stop(t.Context(), c.ID(), StopOptions{})
	r.until(c, "stopped for good", func(s State) bool { return s.Status == container.StateExited })
}

func testAutoRemove(t *testing.T, r *rig) {
	c := r.create("", func(c *config, h *host) { h.AutoRemove = true }, "exit", "4")
	answer, err := r.Wait(t.Context(), c.ID(), container.WaitConditionRemoved)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(t.Context(), c.ID()); err != nil {
		t.Fatal(err)
	}
	if a := <-answer; a.StatusCode != 4 {
		t.Fatalf("%+v", a)
	}
	if _, err := r.Find(c.ID()); !errdefs.IsNotFound(err) {
		t.Fatal(err)
	}
}

func testPauseAndWait(t *testing.T, r *rig) {
	c := r.run("", nil, "wait", "15", "8")
	r.line(c, "ready")
	for _, step := range []struct {
		do     func() error
		status container.ContainerState
	}{
		{func() error { return r.Pause(t.Context(), c.ID()) }, container.StatePaused},
		{func() error { return r.Unpause(t.Context(), c.ID()) }, container.StateRunning},
	} {
		if err := step.do(); err != nil || c.Record().State.Status != step.status {
			t.Fatalf("%v, %s", err, c.Record().State.Status)
		}
	}
	answer, err := r.Wait(t.Context(), c.ID(), container.WaitConditionNotRunning)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Kill(t.Context(), c.ID(), "TERM"); err != nil {
		t.Fatal(err)
	}
	if a := <-answer; a.StatusCode != 8 {
		t.Fatalf("%+v", a)
	}
	if err := r.Kill(t.Context(), c.ID(), ""); !errdefs.IsConflict(err) {
		t.Fatalf("kill of one that has ended: %v", err)
	}
}

func testLogs(t *testing.T, r *rig) {
	c := r.run("", func(c *config, h *host) {
		h.LogConfig = container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "20k", "max-file": "3"}}
	}, "count", "2000")
	r.ended(c)
	var got []int
	for l, err := range r.Logs(t.Context(), c.ID(), LogOptions{Stdout: true, Tail: -1}) {
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(l.Log, "line ")))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, n)
	}
	if len(got) < 400 || got[len(got)-1] != 1999 || !slices.IsSorted(got) || got[len(got)-1]-got[0] != len(got)-1 {
		t.Fatalf("%d lines from %d to %d", len(got), got[0], got[len(got)-1])
	}
	if _, err := os.Stat(c.LogPath() + ".3"); err == nil {
		t.Fatal("one file too many")
	}
	follow := r.run("", nil, "tick", "300ms", "0")
	n := 0
	for l, err := range r.Logs(t.Context(), follow.ID(), LogOptions{Stdout: true, Tail: -1, Follow: true}) {
		if err != nil || strings.TrimSpace(l.Log) != fmt.Sprintf("tick %d", n) {
			t.Fatalf("%d: %q %v", n, l.Log, err)
		}
		n++
	}
	if n < 10 {
		t.Fatalf("followed %d lines", n)
	}
}

func testHealth(t *testing.T, r *rig) {
	c := r.run("", func(c *config, h *host) {
		c.Healthcheck = &container.HealthConfig{Test: []string{"CMD", "/app", "healthy", "/tmp/up"}, Interval: 20 * time.Millisecond, Retries: 2}
		h.Tmpfs = map[string]string{"/tmp": ""}
	}, "wait")
	rec := r.until(c, "unhealthy", func(s State) bool { return s.Health != nil && s.Health.Status == container.Unhealthy })
	last := rec.State.Health.Log[len(rec.State.Health.Log)-1]
	if last.ExitCode != 1 || !strings.Contains(last.Output, "not yet") {
		t.Fatalf("%+v", last)
	}
	pid := rec.State.Pid
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/root/tmp/up", pid), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.until(c, "healthy", func(s State) bool { return s.Health.Status == container.Healthy })
	if err := r.Kill(t.Context(), c.ID(), "KILL"); err != nil {
		t.Fatal(err)
	}
}

func assignment(id string, change func(*swarm.TaskSpec), args ...string) cluster.Assignment {
	a := cluster.Assignment{
		Task: cluster.Task{ID: id, ServiceID: "svcid", ServiceName: "web", Slot: 2, NodeID: "nodeid"},
		Spec: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: "app", Args: args}},
	}
	if change != nil {
		change(&a.Spec)
	}
	return a
}

func testTask(t *testing.T, r *rig) {
	x, ctx := r.Executor(), t.Context()
	s := cluster.Secrets{
		Secrets: []cluster.Secret{{Secret: swarm.Secret{ID: "s1", Spec: swarm.SecretSpec{Data: []byte("hush")}}}},
		Configs: []cluster.Config{{Config: swarm.Config{ID: "c1", Spec: swarm.ConfigSpec{Data: []byte("{{.Task.Slot}} {{secret \"key\"}}\n"), Templating: &swarm.Driver{Name: "golang"}}}}},
	}
	a := assignment("t1", func(spec *swarm.TaskSpec) {
		spec.ContainerSpec.Secrets = []*swarm.SecretReference{{SecretID: "s1", SecretName: "key", File: &swarm.SecretReferenceFileTarget{Name: "key", UID: "1234", GID: "0", Mode: 0o440}}}
		spec.ContainerSpec.Configs = []*swarm.ConfigReference{{ConfigID: "c1", ConfigName: "conf", File: &swarm.ConfigReferenceFileTarget{Name: "/etc/conf", Mode: 0o444}}}
	}, "cat", "/run/secrets/key", "/etc/conf")
	for range 2 { // each call may be repeated
		if err := x.Prepare(ctx, a, s); err != nil {
			t.Fatal(err)
		}
	}
	st, err := x.Start(ctx, "t1")
	if err != nil || st.ContainerStatus == nil {
		t.Fatalf("%+v, %v", st, err)
	}
	exit, err := x.Wait(ctx, "t1")
	if err != nil || exit.Code != 0 {
		t.Fatalf("%+v, %v", exit, err)
	}
	c, err := r.Find("web.2.t1")
	if err != nil {
		t.Fatal(err)
	}
	if out, _ := r.finish(c); out != "hush2 hush\n" {
		t.Fatalf("secret and config: %q", out)
	}
	if got := c.Record().Config.Labels["com.docker.swarm.task.name"]; got != "web.2.t1" {
		t.Fatalf("label %q", got)
	}
	for range 2 {
		if err := x.Remove(ctx, "t1"); err != nil {
			t.Fatal(err)
		}
	}
	bad := assignment("t2", func(spec *swarm.TaskSpec) { spec.ContainerSpec.Command = []string{"/nope"} })
	if err := x.Prepare(ctx, bad, cluster.Secrets{}); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Start(ctx, "t2"); err == nil || !strings.Contains(err.Error(), "no such file or directory") {
		t.Fatalf("a command that is not there: %v", err)
	}
	if err := x.Remove(ctx, "t2"); err != nil {
		t.Fatal(err)
	}
	missing := assignment("t3", func(spec *swarm.TaskSpec) {
		spec.ContainerSpec.Mounts = []mount.Mount{{Type: mount.TypeBind, Source: "/absent-source", Target: "/x"}}
	}, "who")
	if err := x.Prepare(ctx, missing, cluster.Secrets{}); !errdefs.IsInvalidArgument(err) {
		t.Fatalf("a mount that is not there: %v", err)
	}
	if running, _ := x.List(ctx); slices.ContainsFunc(running, func(c cluster.Running) bool { return c.TaskID == "t3" }) {
		t.Fatal("something is left of a refused task")
	}
}

// Not a benchmark: it shows where a start's time goes with -v.
func testTaskSpeed(t *testing.T, r *rig) {
	x, ctx, n := r.Executor(), t.Context(), 8
	began := time.Now()
	prepared := make(chan error)
	for i := range n {
		go func() {
			id := fmt.Sprintf("fast%d", i)
			err := x.Prepare(ctx, assignment(id, nil, "wait"), cluster.Secrets{})
			if err == nil {
				_, err = x.Start(ctx, id)
			}
			prepared <- err
		}()
	}
	for range n {
		if err := <-prepared; err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d tasks at once: %s each", n, (time.Since(began) / time.Duration(n)).Round(time.Millisecond))
	for i := range n {
		if err := x.Remove(ctx, fmt.Sprintf("fast%d", i)); err != nil {
			t.Fatal(err)
		}
	}
}
