package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// task is one task of the node. Its goroutine lives while there is something to do or to wait for.
type task struct {
	id    string
	tasks *tasks

	mu        sync.Mutex
	want      cluster.Assignment
	situation situation
	status    swarm.TaskStatus
	failure   swarm.TaskStatus   // of a situation that says failed
	active    bool               // its goroutine lives
	doing     action             // what it does
	interrupt context.CancelFunc // ends that
}

// change alters what is known or wanted, and has it acted on: work that is not the next thing to do any more is cut
// short.
func (t *task) change(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f()
	switch do := next(t.situation); {
	case t.active:
		if do != t.doing && t.interrupt != nil {
			t.interrupt()
		}
	case do != rest && t.tasks.enter():
		t.active = true
		go t.run()
	}
}

// run does one thing after another until there is nothing to do.
func (t *task) run() {
	defer t.tasks.running.Done()
	var failures int
	for {
		t.mu.Lock()
		do := next(t.situation)
		if do == rest || t.tasks.ctx.Err() != nil {
			t.active = false
			t.mu.Unlock()
			return
		}
		ctx, cancel := context.WithCancel(t.tasks.ctx)
		t.doing, t.interrupt = do, cancel
		want := t.want
		t.mu.Unlock()
		again := t.do(ctx, do, want)
		cancel()
		if do == forget {
			return
		}
		if !again {
			failures = 0
			continue
		}
		failures++
		t.pause(failures)
	}
}

// pause waits before a failed action is tried again, or until something changes.
func (t *task) pause(failures int) {
	ctx, cancel := context.WithCancel(t.tasks.ctx)
	defer cancel()
	t.mu.Lock()
	t.interrupt = cancel
	t.mu.Unlock()
	timer := time.NewTimer(min(time.Duration(failures)*time.Second, 30*time.Second))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// do does one thing and says whether it must be tried again later.
func (t *task) do(ctx context.Context, what action, want cluster.Assignment) (again bool) {
	switch what {
	case prepare:
		t.prepare(ctx, want)
	case start:
		t.start(ctx)
	case watch:
		return t.watch(ctx)
	case stop:
		return t.stop(ctx)
	case remove:
		return t.remove(ctx)
	case forget:
		t.tasks.forget(t)
	case lost:
		t.enter(swarm.TaskStatus{State: swarm.TaskStateFailed, Message: "started", Err: "task: the container is gone"})
	}
	return false
}

func (t *task) prepare(ctx context.Context, want cluster.Assignment) {
	t.enter(swarm.TaskStatus{State: swarm.TaskStateAccepted, Message: "accepted"})
	if !t.tasks.slot(ctx) {
		return
	}
	defer t.tasks.release()
	t.enter(swarm.TaskStatus{State: swarm.TaskStatePreparing, Message: "preparing"})
	t.learn(func(s *situation) { s.container, s.stopped = true, true }) // from now on there may be one
	err := t.tasks.executor.Prepare(ctx, want, t.tasks.secretsNow())
	switch {
	case ctx.Err() != nil:
	case err != nil:
		t.enter(swarm.TaskStatus{State: swarm.TaskStateRejected, Message: "preparing", Err: err.Error()})
	default:
		t.enter(swarm.TaskStatus{State: swarm.TaskStateReady, Message: "prepared"})
	}
}

func (t *task) start(ctx context.Context) {
	t.enter(swarm.TaskStatus{State: swarm.TaskStateStarting, Message: "starting"})
	t.learn(func(s *situation) { s.stopped = false })
	status, err := t.tasks.executor.Start(ctx, t.id)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		status.State, status.Message, status.Err = swarm.TaskStateFailed, "starting", err.Error()
		t.fail(status)
	default:
		status.State, status.Message, status.Err = swarm.TaskStateRunning, "started", ""
		t.enter(status)
	}
}

func (t *task) watch(ctx context.Context) (again bool) {
	exit, err := t.tasks.executor.Wait(ctx, t.id)
	switch {
	case ctx.Err() != nil:
		return false
	case errors.Is(err, errdefs.ErrNotFound):
		t.learn(func(s *situation) { s.container = false })
		return false
	case err != nil: // the engine's trouble, not the task's: its container may well run
		t.tasks.agent.log.Warn("task cannot be waited for; trying again", "task", t.id, "err", err)
		return true
	}
	if exit.Unhealthy {
		t.fail(t.ended(exit))
		return false
	}
	t.learn(func(s *situation) { s.stopped = true })
	t.enter(t.ended(exit))
	return false
}

// fail has a task stopped whose container may still run: it is reported failed when that is over, since another task
// may run in its slot from then on.
func (t *task) fail(s swarm.TaskStatus) {
	if s.Timestamp.IsZero() {
		s.Timestamp = time.Now().UTC()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failure, t.situation.failed = s, true
}

// ended is the status of a task whose container ended so.
func (t *task) ended(exit cluster.Exit) swarm.TaskStatus {
	t.mu.Lock()
	defer t.mu.Unlock()
	return endStatus(t.status, exit)
}

// endStatus says how a container ended, in Docker's words.
func endStatus(before swarm.TaskStatus, exit cluster.Exit) swarm.TaskStatus {
	s := swarm.TaskStatus{State: swarm.TaskStateComplete, Message: "finished", Timestamp: exit.FinishedAt}
	if before.ContainerStatus != nil {
		s.ContainerStatus = new(*before.ContainerStatus)
		s.ContainerStatus.PID, s.ContainerStatus.ExitCode = 0, exit.Code
	}
	switch {
	case exit.Unhealthy:
		s.State, s.Message, s.Err = swarm.TaskStateFailed, "started", "task: unhealthy container"
	case exit.Code != 0:
		s.State, s.Message, s.Err = swarm.TaskStateFailed, "started", fmt.Sprintf("task: non-zero exit (%d)", exit.Code)
		if exit.OOM {
			s.Err += ": out of memory"
		} else if exit.Err != "" {
			s.Err += ": " + exit.Err
		}
	case exit.Err != "":
		s.State, s.Message, s.Err = swarm.TaskStateFailed, "started", exit.Err
	}
	return s
}

func (t *task) stop(ctx context.Context) (again bool) {
	err := t.tasks.executor.Stop(ctx, t.id)
	switch {
	case ctx.Err() != nil:
		return false
	case err != nil && !errors.Is(err, errdefs.ErrNotFound):
		t.tasks.agent.log.Warn("task cannot be stopped; trying again", "task", t.id, "err", err)
		return true
	}
	t.learn(func(s *situation) { s.stopped = true })
	t.mu.Lock()
	// A task that is to be removed is reported ended when its container is gone too, so that who sees the end sees that.
	wait := t.situation.container && (t.situation.gone || t.situation.desired == swarm.TaskStateRemove)
	t.mu.Unlock()
	if !wait {
		t.shut()
	}
	return false
}

func (t *task) remove(ctx context.Context) (again bool) {
	err := t.tasks.executor.Remove(ctx, t.id)
	switch {
	case ctx.Err() != nil:
		return false
	case err != nil && !errors.Is(err, errdefs.ErrNotFound):
		t.tasks.agent.log.Warn("task's container cannot be removed; trying again", "task", t.id, "err", err)
		return true
	}
	t.learn(func(s *situation) { s.container = false })
	t.shut()
	return false
}

// shut reports that the task was shut down, or how it had failed, if it has not ended by itself.
func (t *task) shut() {
	t.mu.Lock()
	if t.situation.failed {
		s := t.failure
		t.mu.Unlock()
		t.enter(s)
		return
	}
	s := swarm.TaskStatus{State: swarm.TaskStateShutdown, Message: "shutdown"}
	if t.status.ContainerStatus != nil {
		s.ContainerStatus = new(*t.status.ContainerStatus)
		s.ContainerStatus.PID = 0
	}
	t.mu.Unlock()
	t.enter(s)
}

// enter moves the task to a higher state and reports it; it never moves back.
func (t *task) enter(s swarm.TaskStatus) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if cluster.Rank(s.State) <= cluster.Rank(t.situation.state) {
		return
	}
	if s.Timestamp.IsZero() {
		s.Timestamp = time.Now().UTC()
	}
	if s.ContainerStatus == nil {
		s.ContainerStatus = t.status.ContainerStatus
	}
	t.status, t.situation.state = s, s.State
	if !t.situation.gone {
		t.tasks.agent.reports.put(t.id, s)
	}
}

func (t *task) learn(f func(*situation)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f(&t.situation)
}
