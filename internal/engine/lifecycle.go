package engine

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/sys/signal"

	"shoal/internal/cluster"
)

// Start starts a container. One that runs already is left as it is: ErrNotModified says so. ErrInvalidArgument: its
// command cannot be run; the reason stands in its record too.
func (e *Engine) Start(ctx context.Context, ref string) error {
	c, err := e.Find(ref)
	if err != nil {
		return err
	}
	release, err := c.own(ctx)
	if err != nil {
		return err
	}
	defer release()
	return c.start(ctx)
}

// ErrNotModified says that a container was already as it should be; the API answers 304.
var ErrNotModified = errors.New("not modified")

// start builds and begins a run. The caller owns the container.
func (c *Container) start(ctx context.Context) error {
	switch s := c.Record().State; {
	case c.gone():
		return cluster.Errorf(errdefs.ErrNotFound, "No such container: %s", c.ID())
	case s.Status == container.StatePaused:
		return cluster.Errorf(errdefs.ErrConflict, "cannot start a paused container, try unpause instead")
	case s.Running():
		return ErrNotModified
	}
	r := c.pending
	c.pending = nil
	var err error
	if r == nil {
		err = c.engine.limit(ctx, func() (err error) {
			r, err = c.build(ctx)
			return err
		})
	}
	if err == nil {
		err = c.begin(ctx, r)
	}
	if err == nil {
		return nil
	}
	code := 128
	if refused, ok := errors.AsType[*runtimeError](err); ok {
		code = refused.code
	}
	if uerr := c.update(func(rec *Record) {
		rec.State.ExitCode, rec.State.Error = code, err.Error()
		if rec.State.Status != container.StateCreated {
			rec.State.Status, rec.State.FinishedAt = container.StateExited, time.Now().UTC()
		}
	}); uerr != nil {
		c.engine.log.Error("container's record cannot be written", "container", c.ID(), "error", uerr)
	}
	if c.Record().HostConfig.AutoRemove {
		c.engine.wg.Go(func() {
			_ = c.engine.Remove(c.engine.ctx, c.ID(), RemoveOptions{Force: true, Volumes: true}) // tried again at the next start
		})
	}
	return err
}

// limit runs f when fewer than Config.Parallel others run: a machine does not start faster by starting all at once.
func (e *Engine) limit(ctx context.Context, f func() error) error {
	select {
	case e.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-e.slots }()
	return f()
}

func (c *Container) gone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.removed
}

// current is the present run, or nil when the container does not run.
func (c *Container) current() *run {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.rec.State.Running() {
		return nil
	}
	return c.run
}

// StopOptions say how a container is stopped.
type StopOptions struct {
	Signal  string         // empty: the container's stop signal
	Timeout *time.Duration // nil: the container's grace; negative: wait for ever
}

// Stop asks the container to end, waits for its grace and kills it. It returns when it has ended. ErrNotModified: it
// did not run. A restart policy does not start it again.
func (e *Engine) Stop(ctx context.Context, ref string, o StopOptions) error {
	c, err := e.Find(ref)
	if err != nil {
		return err
	}
	if err := c.halt(ctx, o); err != nil {
		return err
	}
	c.event(events.ActionStop, nil)
	return nil
}

// halt stops the container because somebody asked: no restart policy brings it back.
func (c *Container) halt(ctx context.Context, o StopOptions) error {
	c.note(func(r *Record) { r.State.Stopped = true })
	r := c.current()
	if r == nil {
		return ErrNotModified
	}
	rec := c.Record()
	name := o.Signal
	if name == "" {
		name = rec.Config.StopSignal
	}
	sig, err := parseSignal(name, syscall.SIGTERM)
	if err != nil {
		return err
	}
	grace := defaultGrace
	if rec.Config.StopTimeout != nil {
		grace = time.Duration(*rec.Config.StopTimeout) * time.Second
	}
	if o.Timeout != nil {
		grace = *o.Timeout
	}
	if rec.State.Status == container.StatePaused {
		_ = c.resume(ctx) // if it stays frozen, the kill after the grace ends it
	}
	if err := c.signal(ctx, r, sig); err != nil && !errdefs.IsNotFound(err) && !r.ends(ctx) {
		return err
	}
	if grace >= 0 {
		t := time.NewTimer(grace)
		defer t.Stop()
		select {
		case <-r.done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
		if err := c.signal(ctx, r, syscall.SIGKILL); err != nil && !errdefs.IsNotFound(err) && !r.ends(ctx) {
			return err
		}
	}
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// signal sends a signal to the container's first process. ErrNotFound: it has ended.
func (c *Container) signal(ctx context.Context, r *run, sig syscall.Signal) error {
	c.mu.Lock()
	t := r.task
	c.mu.Unlock()
	if t == nil {
		return cluster.Errorf(errdefs.ErrNotFound, "container %s has ended", c.ID())
	}
	err := t.Kill(namespaces.WithNamespace(ctx, Namespace), sig)
	if err == nil {
		c.event(events.ActionKill, map[string]string{"signal": strconv.Itoa(int(sig))})
	}
	return err
}

// endsSoon is how long a run may take to end after its signal was answered with an error.
const endsSoon = 2 * time.Second

// ends says whether the run is over in a moment. A signal may end it so fast that its shim is taken down before the answer
// to the signal is out: that reads as a closed connection, and is a success.
func (r *run) ends(ctx context.Context) bool {
	t := time.NewTimer(endsSoon)
	defer t.Stop()
	select {
	case <-r.done:
		return true
	case <-ctx.Done():
	case <-t.C:
	}
	return false
}

// Kill sends a signal to a running container; empty is SIGKILL. ErrConflict in Docker's words: it does not run.
func (e *Engine) Kill(ctx context.Context, ref, name string) error {
	c, err := e.Find(ref)
	if err != nil {
		return err
	}
	sig, err := parseSignal(name, syscall.SIGKILL)
	if err != nil {
		return err
	}
	r := c.current()
	notRunning := cluster.Errorf(errdefs.ErrConflict, "cannot kill container: %s: container %s is not running", ref, c.ID())
	if r == nil {
		return notRunning
	}
	if sig == syscall.SIGKILL || sig == stopSignal(c.Record().Config) {
		c.note(func(r *Record) { r.State.Stopped = true })
	}
	if c.Record().State.Status == container.StatePaused && sig == syscall.SIGKILL {
		defer c.resume(ctx) //nolint:errcheck // it may be gone by then
	}
	if err := c.signal(ctx, r, sig); errdefs.IsNotFound(err) {
		return notRunning
	} else if err != nil && !r.ends(ctx) {
		return err
	}
	if sig != syscall.SIGKILL {
		return nil
	}
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func stopSignal(c *container.Config) syscall.Signal {
	s, err := parseSignal(c.StopSignal, syscall.SIGTERM)
	if err != nil {
		return syscall.SIGTERM
	}
	return s
}

// parseSignal reads "SIGINT", "int" or "2"; empty is what none stands for.
func parseSignal(name string, none syscall.Signal) (syscall.Signal, error) {
	if name == "" {
		return none, nil
	}
	s, err := signal.ParseSignal(name)
	if err != nil || s <= 0 || s > 64 {
		return 0, cluster.Errorf(errdefs.ErrInvalidArgument, "invalid signal: %s", name)
	}
	return s, nil
}

// Pause freezes a container's processes.
func (e *Engine) Pause(ctx context.Context, ref string) error {
	c, release, err := e.owned(ctx, ref)
	if err != nil {
		return err
	}
	defer release()
	r := c.current()
	switch s := c.Record().State.Status; {
	case s == container.StatePaused:
		return cluster.Errorf(errdefs.ErrConflict, "container %s is already paused", c.ID())
	case r == nil || r.task == nil:
		return cluster.Errorf(errdefs.ErrConflict, "container %s is not running", c.ID())
	}
	if err := r.task.Pause(namespaces.WithNamespace(ctx, Namespace)); err != nil {
		return cluster.Errorf(errdefs.ErrInternal, "cannot pause container %s: %s", c.ID(), err)
	}
	c.event(events.ActionPause, nil)
	return c.update(func(r *Record) { r.State.Status = container.StatePaused })
}

// Unpause lets a paused container run on.
func (e *Engine) Unpause(ctx context.Context, ref string) error {
	c, release, err := e.owned(ctx, ref)
	if err != nil {
		return err
	}
	defer release()
	if c.Record().State.Status != container.StatePaused {
		return cluster.Errorf(errdefs.ErrConflict, "container %s is not paused", c.ID())
	}
	return c.resume(ctx)
}

func (c *Container) resume(ctx context.Context) error {
	r := c.current()
	if r == nil || r.task == nil {
		return nil
	}
	if err := r.task.Resume(namespaces.WithNamespace(ctx, Namespace)); err != nil {
		return cluster.Errorf(errdefs.ErrInternal, "cannot unpause container %s: %s", c.ID(), err)
	}
	c.event(events.ActionUnPause, nil)
	return c.update(func(r *Record) {
		if r.State.Status == container.StatePaused {
			r.State.Status = container.StateRunning
		}
	})
}

// Restart stops a container, if it runs, and starts it.
func (e *Engine) Restart(ctx context.Context, ref string, o StopOptions) error {
	c, release, err := e.owned(ctx, ref)
	if err != nil {
		return err
	}
	defer release()
	if err := c.halt(ctx, o); err != nil && !errors.Is(err, ErrNotModified) {
		return err
	}
	if err := c.start(ctx); err != nil {
		return err
	}
	c.event(events.ActionRestart, nil)
	return nil
}

func (e *Engine) owned(ctx context.Context, ref string) (*Container, func(), error) {
	c, err := e.Find(ref)
	if err != nil {
		return nil, nil, err
	}
	release, err := c.own(ctx)
	return c, release, err
}

// Rename gives a container another name.
func (e *Engine) Rename(ctx context.Context, ref, name string) error {
	c, release, err := e.owned(ctx, ref)
	if err != nil {
		return err
	}
	defer release()
	name = strings.TrimPrefix(name, "/")
	old := c.Name()
	switch {
	case name == "":
		return cluster.Errorf(errdefs.ErrInvalidArgument, "Neither old nor new names may be empty")
	case name == old:
		return cluster.Errorf(errdefs.ErrInvalidArgument, "Renaming a container with the same name as its current name")
	case !containerName.MatchString(name):
		return cluster.Errorf(errdefs.ErrInvalidArgument, "Invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name)
	}
	if err := e.takeName(name, c.ID()); err != nil {
		return err
	}
	if err := c.update(func(r *Record) { r.Name = name }); err != nil {
		c.note(func(r *Record) { r.Name = old })
		e.freeName(name, c.ID())
		return err
	}
	e.freeName(old, c.ID())
	c.event(events.ActionRename, map[string]string{"oldName": "/" + old})
	return nil
}
