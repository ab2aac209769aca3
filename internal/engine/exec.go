package engine

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"shoal/internal/cluster"
)

// execKept is how long a finished exec can still be inspected.
const execKept = 5 * time.Minute

// execs are the node's exec instances. They live in memory alone: a process of `docker exec` that outlives the daemon
// runs on, but nobody can ask for it any more. The zero value is ready.
type execs struct {
	mu  sync.Mutex
	all map[string]*execution
}

// execution is one exec instance.
type execution struct {
	id      string
	c       *Container
	request container.ExecCreateRequest

	mu      sync.Mutex
	started bool
	process client.Process // nil before the start
	running bool
	pid     int
	code    *int
	ended   time.Time
}

// add keeps x and forgets those that ended long ago or whose container is gone.
func (s *execs) add(x *execution) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[string]*execution{}
	}
	for id, old := range s.all {
		old.mu.Lock()
		stale := old.c.gone() || (!old.ended.IsZero() && time.Since(old.ended) > execKept)
		old.mu.Unlock()
		if stale {
			delete(s.all, id)
		}
	}
	s.all[x.id] = x
}

func (s *execs) find(id string) (*execution, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.all[id]; x != nil && !x.c.gone() {
		return x, nil
	}
	return nil, cluster.Errorf(errdefs.ErrNotFound, "No such exec instance: %s", id)
}

// of lists a container's exec instances that run; nil without any, as Docker shows it.
func (s *execs) of(containerID string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for id, x := range s.all {
		x.mu.Lock()
		if x.c.ID() == containerID && x.running {
			ids = append(ids, id)
		}
		x.mu.Unlock()
	}
	slices.Sort(ids)
	return ids
}

// ExecCreate prepares a command in a running container and returns its ID. ErrConflict: the container does not run.
func (e *Engine) ExecCreate(_ context.Context, ref string, r container.ExecCreateRequest) (string, error) {
	if len(r.Cmd) == 0 {
		return "", cluster.Errorf(errdefs.ErrInvalidArgument, "No exec command specified")
	}
	if _, err := detachKeys(r.DetachKeys); err != nil {
		return "", err
	}
	c, err := e.Find(ref)
	if err != nil {
		return "", err
	}
	if err := executable(c.Record()); err != nil {
		return "", err
	}
	x := &execution{id: newID(), c: c, request: r}
	e.execs.add(x)
	c.event(events.Action("exec_create: "+strings.Join(r.Cmd, " ")), map[string]string{"execID": x.id})
	return x.id, nil
}

func executable(r Record) error {
	switch {
	case r.State.Status == container.StatePaused:
		return cluster.Errorf(errdefs.ErrConflict, "container %s is paused, unpause the container before exec", r.ID)
	case r.State.Status == container.StateRestarting:
		return cluster.Errorf(errdefs.ErrConflict, "Container %s is restarting, wait until the container is running", r.ID)
	case !r.State.Running():
		return cluster.Errorf(errdefs.ErrConflict, "container %s is not running", r.ID)
	}
	return nil
}

// ExecConfig returns what an exec instance was asked to be. ErrNotFound; ErrConflict: it cannot be started (any more).
func (e *Engine) ExecConfig(id string) (container.ExecCreateRequest, error) {
	x, err := e.execs.find(id)
	if err != nil {
		return container.ExecCreateRequest{}, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.code != nil {
		return x.request, cluster.Errorf(errdefs.ErrConflict, "Error: Exec command %s has already run", id)
	}
	if x.started {
		return x.request, cluster.Errorf(errdefs.ErrConflict, "Error: Exec command %s is already running", id)
	}
	return x.request, executable(x.c.Record())
}

// ExecStart runs the command and returns when it has ended and its output is written, when ctx ends (the command runs
// on, as in Docker) or when the client detached; with detach as soon as it runs. An error of the runtime leaves the
// exit code that shells use: 127 for a command that is not there, 126 for one that cannot be run.
func (e *Engine) ExecStart(ctx context.Context, id string, s Streams, detach bool, size *[2]uint) error {
	if _, err := e.ExecConfig(id); err != nil {
		return err
	}
	x, err := e.execs.find(id)
	if err != nil {
		return err
	}
	x.mu.Lock()
	if x.started {
		x.mu.Unlock()
		return cluster.Errorf(errdefs.ErrConflict, "Error: Exec command %s is already running", id)
	}
	x.started = true
	x.mu.Unlock()
	if detach {
		s = Streams{}
	}
	if size == nil {
		size = x.request.ConsoleSize
	}
	done, err := x.run(namespaces.WithNamespace(context.WithoutCancel(ctx), Namespace), s, size)
	if err != nil {
		x.finish(execCode(err))
		return err
	}
	if detach {
		return nil
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// run starts the process. The channel tells once when it has ended and its output is written, or the client detached.
func (x *execution) run(ctx context.Context, s Streams, size *[2]uint) (<-chan error, error) {
	r := x.c.current()
	if r == nil {
		return nil, cluster.Errorf(errdefs.ErrConflict, "container %s is not running", x.c.ID())
	}
	spec, err := x.spec(r.process, size)
	if err != nil {
		return nil, err
	}
	t, err := x.c.Task(ctx)
	if err != nil {
		return nil, err
	}
	done := make(chan error, 2)
	in := &input{done: done}
	p, err := t.Exec(ctx, x.id, spec, x.streams(s, in))
	if err != nil {
		return nil, fmt.Errorf("exec in container %s: %w", x.c.ID(), err)
	}
	exit, err := p.Wait(ctx)
	if err == nil {
		in.close = func() { _ = p.CloseIO(ctx, client.WithStdinCloser) } // it may have ended
		err = p.Start(ctx)
	}
	if err != nil {
		_, _ = p.Delete(ctx) // nothing runs
		return nil, execError(err)
	}
	x.mu.Lock()
	x.process, x.running, x.pid = p, true, int(p.Pid())
	x.mu.Unlock()
	x.c.event(events.Action("exec_start: "+strings.Join(x.request.Cmd, " ")), map[string]string{"execID": x.id})
	go x.await(ctx, p, exit, done)
	return done, nil
}

// await follows the process to its end.
func (x *execution) await(ctx context.Context, p client.Process, exit <-chan client.ExitStatus, done chan<- error) {
	status := <-exit
	code, _, err := status.Result()
	if err != nil {
		code = unknownExit
	}
	p.IO().Wait() // the rest of the output
	_, _ = p.Delete(ctx)
	x.finish(int(code))
	x.c.event(events.ActionExecDie, map[string]string{"execID": x.id, "exitCode": strconv.Itoa(int(code))})
	done <- nil
}

func (x *execution) finish(code int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.running, x.pid, x.code, x.ended = false, 0, &code, time.Now()
}

// ExecInspect tells how an exec instance is. ErrNotFound in Docker's words.
func (e *Engine) ExecInspect(id string) (container.ExecInspectResponse, error) {
	x, err := e.execs.find(id)
	if err != nil {
		return container.ExecInspectResponse{}, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	r := x.request
	return container.ExecInspectResponse{
		ID: x.id, ContainerID: x.c.ID(), Running: x.running, ExitCode: x.code, Pid: x.pid,
		OpenStdin: r.AttachStdin, OpenStdout: r.AttachStdout, OpenStderr: r.AttachStderr, CanRemove: x.code != nil, DetachKeys: []byte(r.DetachKeys),
		ProcessConfig: &container.ExecProcessConfig{Tty: r.Tty, Entrypoint: r.Cmd[0], Arguments: r.Cmd[1:], Privileged: &r.Privileged, User: r.User},
	}, nil
}

// ExecResize sets the size of an exec's terminal. ErrConflict: it does not run.
func (e *Engine) ExecResize(ctx context.Context, id string, height, width uint32) error {
	x, err := e.execs.find(id)
	if err != nil {
		return err
	}
	x.mu.Lock()
	p, running := x.process, x.running
	x.mu.Unlock()
	if !running {
		return cluster.Errorf(errdefs.ErrConflict, "exec %s is not running", id)
	}
	return p.Resize(namespaces.WithNamespace(ctx, Namespace), width, height)
}

// Resize sets the size of a container's terminal. ErrConflict: it does not run.
func (e *Engine) Resize(ctx context.Context, ref string, height, width uint32) error {
	c, err := e.Find(ref)
	if err != nil {
		return err
	}
	t, err := c.Task(ctx)
	if err != nil {
		return err
	}
	return t.Resize(namespaces.WithNamespace(ctx, Namespace), width, height)
}
