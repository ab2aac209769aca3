package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"shoal/internal/cluster"
	"shoal/internal/shim/wire"
)

// RemoveOptions say what goes with a container.
type RemoveOptions struct {
	Force   bool // kill it first if it runs
	Volumes bool // its anonymous volumes too
}

// Remove removes a container. ErrConflict in Docker's words: it runs. After another error it is still there, not
// running, and may be removed again.
func (e *Engine) Remove(ctx context.Context, ref string, o RemoveOptions) error {
	c, err := e.Find(ref)
	if err != nil {
		return err
	}
	if s := c.Record().State; s.Running() && !o.Force {
		if s.Status == container.StatePaused {
			return cluster.Errorf(errdefs.ErrConflict, "cannot remove container %q: container is paused and must be unpaused first", "/"+c.Name())
		}
		return cluster.Errorf(errdefs.ErrConflict, "cannot remove container %q: container is running: stop the container before removing or force remove", "/"+c.Name())
	}
	zero := time.Duration(0)
	if err := c.halt(ctx, StopOptions{Signal: "KILL", Timeout: &zero}); err != nil && !errors.Is(err, ErrNotModified) {
		return err
	}
	release, err := c.own(ctx)
	if err != nil {
		return err
	}
	defer release()
	if c.gone() {
		return cluster.Errorf(errdefs.ErrNotFound, "No such container: %s", ref)
	}
	// A start may have come in between.
	if err := c.halt(ctx, StopOptions{Signal: "KILL", Timeout: &zero}); err != nil && !errors.Is(err, ErrNotModified) {
		return err
	}
	return c.remove(namespaces.WithNamespace(ctx, Namespace), o)
}

// remove takes a container that does not run out of the world. The caller owns it.
func (c *Container) remove(ctx context.Context, o RemoveOptions) error {
	e := c.engine
	if c.pending != nil {
		c.pending = nil
	}
	if err := c.dismantle(ctx); err != nil {
		return fmt.Errorf("container %s cannot be taken down: %w", c.ID(), err)
	}
	rec := c.Record()
	if err := e.unlay(ctx, c); err != nil {
		return err
	}
	e.mu.Lock()
	delete(e.containers, rec.ID)
	if e.names[rec.Name] == rec.ID {
		delete(e.names, rec.Name)
	}
	if e.tasks[rec.TaskID] == rec.ID {
		delete(e.tasks, rec.TaskID)
	}
	e.mu.Unlock()
	c.mu.Lock() // only now: who waits for the removal may take the name at once
	c.removed = true
	c.rec.State.Status = "removed"
	close(c.changed)
	c.changed = make(chan struct{})
	c.mu.Unlock()
	c.event(events.ActionDestroy, nil)
	if !o.Volumes {
		return nil
	}
	for i, m := range anonymousVolumes(rec) {
		if err := e.cfg.Volumes.Remove(m, false); err != nil && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) {
			e.log.Warn("anonymous volume cannot be removed", "volume", m, "number", i, "error", err)
		}
	}
	return nil
}

// anonymousVolumes are the volumes that nobody named.
func anonymousVolumes(rec Record) []string {
	all, err := mountings(rec.Config, rec.HostConfig)
	if err != nil || len(all) != len(rec.Mounts) {
		return nil
	}
	var out []string
	for i, m := range all {
		if m.Type == "volume" && m.Source == "" && rec.Mounts[i].Name != "" {
			out = append(out, rec.Mounts[i].Name)
		}
	}
	return out
}

// restart policy: the pause before a restart doubles from firstPause to longestPause and starts over after a run of
// steadyRun, as Docker has it.
const (
	firstPause   = 100 * time.Millisecond
	longestPause = time.Minute
	steadyRun    = 10 * time.Second
)

// afterwards does what a container's policy says about its end.
func (c *Container) afterwards(x wire.Exit, lived time.Duration) {
	e := c.engine
	rec := c.Record()
	if rec.HostConfig.AutoRemove {
		e.wg.Go(func() {
			if err := e.Remove(e.ctx, c.ID(), RemoveOptions{Force: true, Volumes: true}); err != nil && !errdefs.IsNotFound(err) && e.ctx.Err() == nil {
				e.log.Warn("container cannot be removed after its end", "container", c.ID(), "error", err)
			}
		})
		return
	}
	if !restarts(rec, int(x.Code)) {
		return
	}
	n := rec.State.Restarts
	if lived > steadyRun {
		n = 0
	}
	c.note(func(r *Record) { r.State.Status, r.State.Restarts = container.StateRestarting, n+1 })
	e.wg.Go(func() { c.again(pauseBefore(n)) })
}

func pauseBefore(n int) time.Duration { return min(firstPause<<min(n, 20), longestPause) }

// restarts says whether the policy wants the container started again. Pure.
func restarts(rec Record, code int) bool {
	p := rec.HostConfig.RestartPolicy
	switch {
	case rec.State.Stopped:
		return false
	case p.IsAlways(), p.IsUnlessStopped():
		return true
	case p.IsOnFailure():
		return code != 0 && (p.MaximumRetryCount == 0 || rec.State.Restarts < p.MaximumRetryCount)
	}
	return false
}

// again starts the container after a pause, unless somebody has stopped or started it meanwhile.
func (c *Container) again(pause time.Duration) {
	t := time.NewTimer(pause)
	defer t.Stop()
	for waiting := true; waiting; {
		c.mu.Lock()
		changed, status, stopped := c.changed, c.rec.State.Status, c.rec.State.Stopped
		c.mu.Unlock()
		if status != container.StateRestarting || stopped {
			if status == container.StateRestarting {
				c.note(func(r *Record) { r.State.Status = container.StateExited })
			}
			return
		}
		select {
		case <-t.C:
			waiting = false
		case <-changed:
		case <-c.engine.ctx.Done():
			return
		}
	}
	release, err := c.own(c.engine.ctx)
	if err != nil {
		return
	}
	defer release()
	rec := c.Record()
	if rec.State.Status != container.StateRestarting {
		return
	}
	if rec.State.Stopped {
		c.note(func(r *Record) { r.State.Status = container.StateExited })
		return
	}
	if err := c.start(c.engine.ctx); err != nil && !errors.Is(err, ErrNotModified) && c.engine.ctx.Err() == nil {
		c.engine.log.Warn("container cannot be started again", "container", c.ID(), "error", err)
		if now := c.Record(); restarts(now, now.State.ExitCode) {
			c.note(func(r *Record) { r.State.Status, r.State.Restarts = container.StateRestarting, r.State.Restarts+1 })
			c.engine.wg.Go(func() { c.again(pauseBefore(now.State.Restarts)) })
		}
	}
}
