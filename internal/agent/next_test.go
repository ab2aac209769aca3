package agent

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/swarm"
	"pgregory.net/rapid"

	"shoal/internal/cluster"
)

func TestNext(t *testing.T) {
	const (
		assigned, preparing, ready = swarm.TaskStateAssigned, swarm.TaskStatePreparing, swarm.TaskStateReady
		starting, running, failed  = swarm.TaskStateStarting, swarm.TaskStateRunning, swarm.TaskStateFailed
		complete, shutdown, gone   = swarm.TaskStateComplete, swarm.TaskStateShutdown, swarm.TaskStateRemove
	)
	for _, test := range []struct {
		name string
		s    situation
		want action
	}{
		{"new", situation{state: assigned, desired: running, confirmed: true}, prepare},
		{"cut short", situation{state: preparing, desired: running, confirmed: true, container: true, stopped: true}, prepare},
		{"held at READY", situation{state: ready, desired: ready, confirmed: true, container: true, stopped: true}, rest},
		{"ready", situation{state: ready, desired: running, confirmed: true, container: true, stopped: true}, start},
		{"ready, after the machine lost it", situation{state: ready, desired: running, confirmed: true}, prepare},
		{"a job", situation{state: ready, desired: complete, confirmed: true, container: true, stopped: true}, start},
		{"starting", situation{state: starting, desired: running, confirmed: true, container: true}, start},
		{"running", situation{state: running, desired: running, confirmed: true, container: true}, watch},
		{"running, without a manager's word", situation{state: running, desired: running, container: true}, watch},
		{"running, container gone", situation{state: running, desired: running, confirmed: true}, lost},
		{"new, without a manager's word", situation{state: assigned, desired: running}, rest},
		{"ready, without a manager's word", situation{state: ready, desired: running, container: true, stopped: true}, rest},
		{"to stop", situation{state: running, desired: shutdown, confirmed: true, container: true}, stop},
		{"to stop, never begun", situation{state: assigned, desired: shutdown, confirmed: true}, stop},
		{"stopped", situation{state: shutdown, desired: shutdown, confirmed: true, container: true, stopped: true}, rest},
		{"failed, still runs", situation{state: failed, desired: running, confirmed: true, container: true}, stop},
		{"failed", situation{state: failed, desired: running, confirmed: true, container: true, stopped: true}, rest},
		{"unhealthy, still runs", situation{state: running, desired: running, confirmed: true, container: true, failed: true}, stop},
		{"to remove", situation{state: running, desired: gone, confirmed: true, container: true}, stop},
		{"to remove, stopped", situation{state: running, desired: gone, confirmed: true, container: true, stopped: true}, remove},
		{"removed", situation{state: shutdown, desired: gone, confirmed: true}, rest},
		{"dropped, runs", situation{state: running, desired: running, gone: true, container: true}, stop},
		{"dropped, stopped", situation{state: shutdown, gone: true, container: true, stopped: true}, remove},
		{"dropped, nothing left", situation{state: failed, gone: true}, forget},
	} {
		if got := next(test.s); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

// TestNextNeverStartsUnconfirmed: whatever is known, nothing starts without a manager's word, nor when it has ended, is
// to stop, or was dropped; and doing what next says always comes to rest.
func TestNextNeverStartsUnconfirmed(t *testing.T) {
	states := []swarm.TaskState{"assigned", "accepted", "preparing", "ready", "starting", "running", "complete", "shutdown", "failed", "rejected", "orphaned"}
	desires := []swarm.TaskState{"ready", "running", "complete", "shutdown", "remove"}
	rapid.Check(t, func(t *rapid.T) {
		s := situation{
			state: rapid.SampledFrom(states).Draw(t, "state"), desired: rapid.SampledFrom(desires).Draw(t, "desired"),
			gone: rapid.Bool().Draw(t, "gone"), confirmed: rapid.Bool().Draw(t, "confirmed"),
			container: rapid.Bool().Draw(t, "container"), stopped: rapid.Bool().Draw(t, "stopped"),
			failed: rapid.Bool().Draw(t, "failed"),
		}
		for range 10 {
			do := next(s)
			if (do == prepare || do == start) && (!s.confirmed || s.gone || s.failed || cluster.Terminal(s.state) || cluster.Rank(s.desired) > cluster.Rank(swarm.TaskStateComplete)) {
				t.Fatalf("%+v: %v", s, do)
			}
			switch do {
			case rest, watch, forget:
				return
			case prepare:
				s.state, s.container, s.stopped = swarm.TaskStateReady, true, true
			case start:
				s.state, s.stopped = swarm.TaskStateRunning, false
			case stop:
				s.stopped = true
				if !s.container && !cluster.Terminal(s.state) || !s.gone && s.desired != swarm.TaskStateRemove && !cluster.Terminal(s.state) {
					s.state = swarm.TaskStateShutdown
				}
			case remove:
				s.container = false
				if !cluster.Terminal(s.state) {
					s.state = swarm.TaskStateShutdown
				}
			case lost:
				s.state = swarm.TaskStateFailed
			}
		}
		t.Fatalf("never comes to rest: %+v", s)
	})
}

func TestEndStatus(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	before := swarm.TaskStatus{ContainerStatus: &swarm.ContainerStatus{ContainerID: "c", PID: 7}}
	for _, test := range []struct {
		exit  cluster.Exit
		state swarm.TaskState
		err   string
	}{
		{cluster.Exit{}, swarm.TaskStateComplete, ""},
		{cluster.Exit{Code: 1}, swarm.TaskStateFailed, "task: non-zero exit (1)"},
		{cluster.Exit{Code: 137, OOM: true}, swarm.TaskStateFailed, "task: non-zero exit (137): out of memory"},
		{cluster.Exit{Unhealthy: true}, swarm.TaskStateFailed, "task: unhealthy container"},
	} {
		test.exit.FinishedAt = at
		got := endStatus(before, test.exit)
		if got.State != test.state || got.Err != test.err || got.ContainerStatus.ExitCode != test.exit.Code || got.ContainerStatus.PID != 0 || !got.Timestamp.Equal(at) {
			t.Errorf("%+v: %+v", test.exit, got)
		}
	}
	if before.ContainerStatus.PID != 7 {
		t.Error("the status before was changed")
	}
}

// TestReports: the newest of each task, one message under way, and nothing is lost with a session.
func TestReports(t *testing.T) {
	r := newReports()
	states := func(list []cluster.TaskReport) map[string]swarm.TaskState {
		m := map[string]swarm.TaskState{}
		for _, one := range list {
			m[one.TaskID] = one.Status.State
		}
		return m
	}
	put := func(id string, s swarm.TaskState) { r.put(id, swarm.TaskStatus{State: s}) }
	put("a", "preparing")
	put("a", "running")
	put("b", "running")
	seq, list := r.take()
	if diff := cmp.Diff(map[string]swarm.TaskState{"a": "running", "b": "running"}, states(list)); diff != "" || seq != 1 {
		t.Errorf("%d %s", seq, diff)
	}
	put("a", "failed")
	if _, list := r.take(); list != nil {
		t.Errorf("a second message is under way: %v", list)
	}
	r.restart()
	seq, list = r.take()
	if diff := cmp.Diff(map[string]swarm.TaskState{"a": "failed", "b": "running"}, states(list)); diff != "" {
		t.Error(diff)
	}
	r.acked(seq)
	if _, list := r.take(); list != nil {
		t.Errorf("acknowledged, and sent again: %v", list)
	}
}

func TestMemoryKeepsNoCredentials(t *testing.T) {
	dir := t.TempDir()
	m := memory{Managers: []swarm.Peer{{NodeID: "m1", Addr: "10.0.0.1:2377"}}, Tasks: []cluster.Assignment{{Task: cluster.Task{ID: "t1"}, RegistryAuth: "hush"}}}
	if err := writeMemory(dir, m); err != nil {
		t.Fatal(err)
	}
	got, err := readMemory(dir)
	if err != nil || len(got.Tasks) != 1 || got.Tasks[0].RegistryAuth != "" || got.Managers[0] != m.Managers[0] {
		t.Errorf("%+v, %v", got, err)
	}
}
