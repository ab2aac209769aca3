package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"shoal/internal/shim/wire"
)

// run is one life of a container, from its making to its exit.
type run struct {
	task    client.Task    // nil: it ended while no daemon looked, and the record does not say so yet
	process *specs.Process // what health checks run like
	done    chan struct{}  // closed when the process has ended and the record says so
}

// retryEvery is how often a watcher asks again while containerd is away.
const retryEvery = 100 * time.Millisecond

// unknownExit is the code of a container whose end nobody saw: its shim was killed with it.
const unknownExit = 137

// begin starts the process that build made and follows it. The caller owns the container.
func (c *Container) begin(ctx context.Context, r *run) error {
	ctx = namespaces.WithNamespace(ctx, Namespace)
	c.meet()
	exit, err := r.task.Wait(c.engine.ctx) // before Start, so that no end is missed
	if err == nil {
		err = r.task.Start(ctx)
	}
	if err != nil {
		_ = c.dismantle(context.WithoutCancel(ctx)) // the first error is the cause; removal tries again
		return startError(err, r.process.Args)
	}
	c.mu.Lock()
	c.run = r
	c.mu.Unlock()
	now := time.Now().UTC()
	health := c.rec.Config.Healthcheck // set once
	err = c.update(func(rec *Record) {
		rec.State = State{Status: container.StateRunning, Pid: int(r.task.Pid()), StartedAt: now, Restarts: rec.State.Restarts, FinishedAt: rec.State.FinishedAt}
		if checks(health) {
			rec.State.Health = &container.Health{Status: container.Starting}
		}
	})
	if err != nil { // it runs; the record on disk will be put right by the next change
		c.engine.log.Error("container's record cannot be written", "container", c.ID(), "error", err)
	}
	c.event(events.ActionStart, nil)
	c.follow(r, exit)
	return nil
}

// follow watches a run in the background.
func (c *Container) follow(r *run, exit <-chan client.ExitStatus) {
	c.engine.wg.Go(func() { c.watch(r, exit) })
	if checks(c.rec.Config.Healthcheck) {
		c.engine.wg.Go(func() { c.checkLoop(r) })
	}
}

// watch waits for the end of a run, whatever happens to containerd meanwhile.
func (c *Container) watch(r *run, exit <-chan client.ExitStatus) {
	e := c.engine
	ctx := namespaces.WithNamespace(e.ctx, Namespace)
	for {
		var status client.ExitStatus
		select {
		case status = <-exit:
		case <-ctx.Done():
			return
		}
		code, at, err := status.Result()
		if err == nil {
			c.ended(r, c.exitRecord(code, at))
			return
		}
		if ctx.Err() != nil {
			return // the daemon ends; the container does not
		}
		t, err := c.reload(ctx)
		switch {
		case errdefs.IsNotFound(err):
			c.ended(r, c.exitRecord(unknownExit, time.Now().UTC()))
			return
		case err != nil:
			if !e.pause(retryEvery) {
				return
			}
			gone := make(chan client.ExitStatus, 1)
			gone <- *client.NewExitStatus(client.UnknownExitStatus, time.Time{}, err)
			exit = gone
		default:
			c.mu.Lock()
			r.task = t
			c.mu.Unlock()
			if exit, err = t.Wait(ctx); err != nil {
				return // never: Wait of a task fails through its channel only
			}
		}
	}
}

// pause returns after d; false: the engine has been closed.
func (e *Engine) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-e.ctx.Done():
		return false
	}
}

// reload finds the container's task in containerd again. ErrNotFound: it has none.
func (c *Container) reload(ctx context.Context) (client.Task, error) {
	ctr, err := c.engine.cfg.Containerd.Client().LoadContainer(ctx, c.ID())
	if err != nil {
		return nil, err
	}
	return ctr.Task(ctx, nil)
}

// exitRecord reads what the shim wrote of the end, or makes do with what containerd says.
func (c *Container) exitRecord(code uint32, at time.Time) wire.Exit {
	x := wire.Exit{Code: code, FinishedAt: at}
	b, err := os.ReadFile(filepath.Join(c.Dir(), "exit.json"))
	if err == nil {
		err = json.Unmarshal(b, &x)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		c.engine.log.Warn("exit record cannot be read", "container", c.ID(), "error", err)
	}
	if x.FinishedAt.IsZero() {
		x.FinishedAt = time.Now().UTC()
	}
	return x
}

// ended clears up after a run and says that it is over.
func (c *Container) ended(r *run, x wire.Exit) {
	for n := time.Duration(1); c.dismantle(context.WithoutCancel(c.engine.ctx)) != nil; n++ {
		// containerd is away, or was killed in the middle: a next start would meet what it holds.
		if !c.engine.pause(min(n, 50) * retryEvery) {
			return // the daemon ends, and its successor sees the end
		}
	}
	var began time.Time
	err := c.update(func(rec *Record) {
		s := &rec.State
		began = s.StartedAt
		s.Status, s.Pid, s.ExitCode, s.FinishedAt, s.OOMKilled = container.StateExited, 0, int(x.Code), x.FinishedAt, x.OOM
	})
	if err != nil {
		c.engine.log.Error("container's record cannot be written", "container", c.ID(), "error", err)
	}
	if x.LogDropped > 0 {
		c.engine.log.Warn("log lines were lost: they could not be written", "container", c.ID(), "lines", x.LogDropped)
	}
	if x.OOM {
		c.event(events.ActionOOM, nil)
	}
	c.event(events.ActionDie, map[string]string{"exitCode": strconv.Itoa(int(x.Code)), "execDuration": strconv.Itoa(int(x.FinishedAt.Sub(began).Seconds()))})
	close(r.done)
	c.afterwards(x, x.FinishedAt.Sub(began))
}

// dismantle takes down what build made; what is not there is no error. The error says that containerd may still hold the
// container, so that it must be called again; all else is logged, and adopt clears up again.
func (c *Container) dismantle(ctx context.Context) error {
	e := c.engine
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(ctx, Namespace), 30*time.Second)
	defer cancel()
	held := c.release(ctx)
	err := held
	if derr := e.cfg.Network.Detach(ctx, c.ID()); derr != nil {
		err = errors.Join(err, fmt.Errorf("detach network: %w", derr))
	}
	for _, m := range c.Record().Mounts {
		if m.Name != "" {
			err = errors.Join(err, e.cfg.Volumes.Unmount(m.Name, c.ID()))
		}
	}
	if err != nil {
		e.log.Warn("container could not be taken down whole", "container", c.ID(), "error", err)
	}
	return held
}

// release has containerd end and forget the container.
func (c *Container) release(ctx context.Context) (err error) {
	ctr, err := c.engine.cfg.Containerd.Client().LoadContainer(ctx, c.ID())
	if err != nil {
		return ignore(err, errdefs.ErrNotFound)
	}
	t, err := ctr.Task(ctx, nil)
	if err == nil {
		_, err = t.Delete(ctx, client.WithProcessKill)
	}
	if err = ignore(err, errdefs.ErrNotFound); err != nil {
		err = fmt.Errorf("delete task: %w", err)
	}
	if derr := ignore(ctr.Delete(ctx), errdefs.ErrNotFound); derr != nil {
		err = errors.Join(err, fmt.Errorf("delete container: %w", derr))
	}
	return err
}
