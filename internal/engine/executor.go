package engine

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// Executor runs tasks as containers. It is the engine as an agent sees it: every call names a task, may be repeated,
// and finds the task's container again after a restart of the daemon.
type Executor struct{ e *Engine }

// Executor returns the engine as an agent sees it.
func (e *Engine) Executor() *Executor { return &Executor{e} }

// List returns the task containers that are on this node.
func (x *Executor) List(context.Context) ([]cluster.Running, error) {
	var out []cluster.Running
	for _, c := range x.e.Containers() {
		r := c.Record()
		if r.TaskID == "" {
			continue
		}
		run := cluster.Running{TaskID: r.TaskID, ContainerID: r.ID, State: swarm.TaskStateReady}
		switch {
		case r.State.Running():
			run.State = swarm.TaskStateRunning
		case r.State.Status != container.StateCreated:
			run.State, run.Exit = swarm.TaskStateComplete, exitOf(r.State)
			if run.Exit.Code != 0 || run.Exit.Err != "" {
				run.State = swarm.TaskStateFailed
			}
		}
		out = append(out, run)
	}
	return out, nil
}

func exitOf(s State) cluster.Exit {
	return cluster.Exit{Code: s.ExitCode, FinishedAt: s.FinishedAt, OOM: s.OOMKilled, Err: s.Error}
}

// Prepare makes the task's container and, as far as its start, its process, so that Start has little left to do.
// After an error nothing of it is left. A command that cannot be run is no error here but at Start, as in Docker.
func (x *Executor) Prepare(ctx context.Context, a cluster.Assignment, s cluster.Secrets) error {
	c, err := x.find(a.Task.ID)
	if errdefs.IsNotFound(err) {
		err = x.e.outlive(ctx, func(bool) (err error) {
			c, err = x.create(ctx, a, s)
			return err
		})
	}
	if err != nil {
		return err
	}
	release, err := c.own(ctx)
	if err != nil {
		return err
	}
	defer release()
	if c.Record().State.Status != container.StateCreated || c.pending != nil {
		return nil
	}
	if c.files, err = taskFiles(a, x.e.cfg.Hostname, s); err != nil {
		return err
	}
	if len(a.Task.Ports) > 0 {
		return nil // the task that this one replaces may hold the node's ports until it has ended: Start makes the process
	}
	err = x.e.limit(ctx, func() error {
		return x.e.outlive(ctx, c.afresh(ctx, func() (err error) {
			c.pending, err = c.build(ctx)
			return err
		}))
	})
	if _, ok := errors.AsType[*runtimeError](err); ok {
		return nil // Start meets it again and says so
	}
	if err != nil {
		return errors.Join(err, c.remove(context.WithoutCancel(ctx), RemoveOptions{Volumes: true}))
	}
	return nil
}

func (x *Executor) create(ctx context.Context, a cluster.Assignment, s cluster.Secrets) (*Container, error) {
	config, host, err := FromTask(a, x.e.cfg.Hostname)
	if err != nil {
		return nil, err
	}
	files, err := taskFiles(a, x.e.cfg.Hostname, s)
	if err != nil {
		return nil, err
	}
	own, overlays := taskNetworks(a.Task)
	host.NetworkMode = container.NetworkMode(own)
	if own == "" {
		host.NetworkMode = "bridge" // for inspect; the request names the overlays
	}
	c, _, err := x.e.Create(ctx, CreateRequest{
		Name: a.Task.Name(), Config: config, HostConfig: host, TaskID: a.Task.ID,
		Overlays: overlays, Ports: a.Task.Ports, Auth: a.RegistryAuth, files: files,
	})
	return c, err
}

func (x *Executor) find(taskID string) (*Container, error) {
	x.e.mu.Lock()
	defer x.e.mu.Unlock()
	c := x.e.containers[x.e.tasks[taskID]]
	if c == nil {
		return nil, cluster.Errorf(errdefs.ErrNotFound, "task %s has no container here", taskID)
	}
	return c, nil
}

// Start returns when the task's container runs, and is healthy if it has a health check. An error's words are fit for
// the task's status.
func (x *Executor) Start(ctx context.Context, taskID string) (swarm.TaskStatus, error) {
	c, err := x.find(taskID)
	if err != nil {
		return swarm.TaskStatus{}, err
	}
	release, err := c.own(ctx)
	if err != nil {
		return swarm.TaskStatus{}, err
	}
	if s := c.Record().State.Status; s == container.StateCreated {
		err = x.e.outlive(ctx, c.afresh(ctx, func() error { return c.start(ctx) }))
	}
	release()
	if err != nil && !errors.Is(err, ErrNotModified) {
		return x.status(c, swarm.TaskStateFailed), cluster.Errorf(class(err), "starting container failed: %s", err)
	}
	for {
		r, changed := c.Changed()
		switch s := r.State; {
		case !s.Running():
			return x.status(c, swarm.TaskStateRunning), nil // Wait tells how it ended
		case s.Health == nil || s.Health.Status == container.Healthy:
			return x.status(c, swarm.TaskStateRunning), nil
		case s.Health.Status == container.Unhealthy:
			return x.status(c, swarm.TaskStateFailed), cluster.Errorf(errdefs.ErrAborted, "%s", unhealthy(s))
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return swarm.TaskStatus{}, ctx.Err()
		}
	}
}

func class(err error) error {
	for _, c := range []error{errdefs.ErrInvalidArgument, errdefs.ErrNotFound, errdefs.ErrConflict, errdefs.ErrUnavailable, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, c) {
			return c
		}
	}
	return errdefs.ErrUnknown
}

// unhealthy is Docker's sentence, with what the last probe said.
func unhealthy(s State) string {
	text := "unhealthy container"
	if n := len(s.Health.Log); n > 0 {
		if out := strings.TrimSpace(s.Health.Log[n-1].Output); out != "" {
			text += ": " + out
		}
	}
	return text
}

func (x *Executor) status(c *Container, state swarm.TaskState) swarm.TaskStatus {
	r := c.Record()
	st := swarm.TaskStatus{Timestamp: time.Now().UTC(), State: state, ContainerStatus: &swarm.ContainerStatus{ContainerID: r.ID, PID: r.State.Pid, ExitCode: r.State.ExitCode}}
	if box, ok := x.e.cfg.Network.Sandbox(r.ID); ok && len(box.Ports) > 0 {
		st.PortStatus.Ports = box.Ports
	}
	return st
}

// Wait ends when the task's container has ended or become unhealthy.
func (x *Executor) Wait(ctx context.Context, taskID string) (cluster.Exit, error) {
	c, err := x.find(taskID)
	if err != nil {
		return cluster.Exit{}, err
	}
	for {
		r, changed := c.Changed()
		switch s := r.State; {
		case c.gone():
			return exitOf(s), nil
		case s.Running() && s.Health != nil && s.Health.Status == container.Unhealthy:
			return cluster.Exit{Unhealthy: true, Err: unhealthy(s)}, nil
		case !s.Running() && s.Status != container.StateCreated:
			return exitOf(s), nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return cluster.Exit{}, ctx.Err()
		}
	}
}

// Stop sends the stop signal, waits for the grace period and kills. A task that does not run is no error.
func (x *Executor) Stop(ctx context.Context, taskID string) error {
	c, err := x.find(taskID)
	if err != nil {
		return ignore(err, errdefs.ErrNotFound)
	}
	return ignore(x.e.Stop(ctx, c.ID(), StopOptions{}), ErrNotModified, errdefs.ErrNotFound)
}

// Remove removes the task's container, running or not, and its anonymous volumes.
func (x *Executor) Remove(ctx context.Context, taskID string) error {
	c, err := x.find(taskID)
	if err != nil {
		return ignore(err, errdefs.ErrNotFound)
	}
	return ignore(x.e.Remove(ctx, c.ID(), RemoveOptions{Force: true, Volumes: true}), errdefs.ErrNotFound)
}

func ignore(err error, classes ...error) error {
	for _, c := range classes {
		if errors.Is(err, c) {
			return nil
		}
	}
	return err
}
