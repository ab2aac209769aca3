package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sync/errgroup"

	"shoal/internal/cluster"
)

// New opens the engine on what an earlier one has left: containers that run are followed again, those that ended
// meanwhile get their exit codes, and what has no record is removed. Images, volumes and network must be open. A
// containerd that dies meanwhile is waited for.
func New(ctx context.Context, cfg Config) (*Engine, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	for _, d := range []string{filepath.Join(cfg.DataRoot, "containers"), filepath.Join(cfg.ExecRoot, "fifo"), filepath.Join(cfg.ExecRoot, "a")} {
		if err := os.MkdirAll(d, 0o711); err != nil {
			return nil, fmt.Errorf("engine's directory: %w", err)
		}
	}
	for began := time.Now(); ; {
		e := &Engine{
			cfg: cfg, log: cfg.Log, bus: NewBus(), slots: make(chan struct{}, cfg.Parallel), node: nodeOf(cfg.Hostname),
			containers: map[string]*Container{}, names: map[string]string{}, tasks: map[string]string{},
		}
		e.ctx, e.cancel = context.WithCancel(context.WithoutCancel(ctx))
		err := e.adopt(namespaces.WithNamespace(ctx, Namespace))
		if err == nil {
			return e, nil
		}
		// A deadline is containerd's own, on a shim that is slow to answer: a busy machine, a full disk.
		again := (errdefs.IsUnavailable(err) || errdefs.IsDeadlineExceeded(err)) && time.Since(began) < adoptTime && e.pause(retryEvery)
		e.Close() // and begin anew: what has been followed has its watchers
		if !again || ctx.Err() != nil {
			return nil, err
		}
		cfg.Log.Warn("containers cannot be looked at; trying again", "error", err)
	}
}

// adoptTime is how long New puts up with a containerd, or a shim, that does not answer.
const adoptTime = 2 * time.Minute

func (c *Config) check() error {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Parallel <= 0 {
		c.Parallel = 8
	}
	if c.CgroupParent == "" {
		c.CgroupParent = "/shoal"
	}
	if c.Hostname == "" {
		h, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("name of the node: %w", err)
		}
		c.Hostname = h
	}
	for _, p := range []string{c.DataRoot, c.ExecRoot, c.Runc, c.Shim} {
		if !filepath.IsAbs(p) {
			return cluster.Errorf(errdefs.ErrInvalidArgument, "engine: %q is not an absolute path", p)
		}
	}
	if c.Containerd == nil || c.Images == nil || c.Volumes == nil || c.Network == nil {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "engine: containerd, images, volumes and network must be set")
	}
	return nil
}

// Events returns the bus of `docker events`.
func (e *Engine) Events() *Bus { return e.bus }

// Close stops following containers, which run on, and waits for what is under way.
func (e *Engine) Close() error {
	e.cancel()
	e.wg.Wait()
	return nil
}

// adopt reads the records, compares them with containerd and goes on from there.
func (e *Engine) adopt(ctx context.Context) error {
	dirs, err := os.ReadDir(filepath.Join(e.cfg.DataRoot, "containers"))
	if err != nil {
		return fmt.Errorf("read containers: %w", err)
	}
	for _, d := range dirs {
		c, err := e.read(d.Name())
		if err != nil {
			// Nothing was promised for a container without a record: its create has not returned.
			e.log.Warn("container without a record is removed", "container", d.Name(), "error", err)
			e.sweep(ctx, d.Name())
			continue
		}
		e.containers[c.rec.ID] = c
		e.names[c.rec.Name] = c.rec.ID
		if c.rec.TaskID != "" {
			e.tasks[c.rec.TaskID] = c.rec.ID
		}
	}
	if err := e.strays(ctx); err != nil {
		return err
	}
	var running []string
	var g errgroup.Group
	g.SetLimit(e.cfg.Parallel)
	for _, c := range e.Containers() {
		if c.rec.State.Running() {
			running = append(running, c.rec.ID)
		}
	}
	e.cfg.Network.Retain(running)
	for _, c := range e.Containers() {
		g.Go(func() error { return e.resume(ctx, c) })
	}
	return g.Wait()
}

func (e *Engine) read(id string) (*Container, error) {
	b, err := os.ReadFile(filepath.Join(e.dir(id), "container.json"))
	if err != nil {
		return nil, err
	}
	var rec Record
	if err := json.Unmarshal(b, &rec); err != nil {
		return nil, err
	}
	if rec.ID != id || rec.Config == nil || rec.HostConfig == nil {
		return nil, errors.New("the record is incomplete")
	}
	return newContainer(e, rec), nil
}

// resume brings one container up to date.
func (e *Engine) resume(ctx context.Context, c *Container) error {
	rec := c.Record()
	t, err := c.reload(ctx)
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("find container %s again: %w", rec.ID, err)
	}
	if !rec.State.Running() {
		return e.resumeIdle(ctx, c, t)
	}
	r := &run{task: t, done: make(chan struct{})}
	c.mu.Lock()
	c.run = r
	c.mu.Unlock()
	if err != nil { // it ended while nobody looked
		e.wg.Go(func() { c.ended(r, c.exitRecord(unknownExit, time.Now().UTC())) })
		return nil
	}
	exit, err := t.Wait(e.ctx) // first, so that no end is missed
	if err != nil {
		return fmt.Errorf("follow container %s: %w", rec.ID, err)
	}
	if r.process, err = e.process(ctx, rec.ID); err != nil {
		return err
	}
	if s, err := t.Status(ctx); err == nil && s.Status == client.Running && rec.State.Status == container.StatePaused {
		c.note(func(r *Record) { r.State.Status = container.StateRunning })
	} else if err == nil && s.Status == client.Paused {
		c.note(func(r *Record) { r.State.Status = container.StatePaused })
	}
	c.follow(r, exit)
	return nil
}

// process is what a container's first process was started with; health checks and execs start as it did.
func (e *Engine) process(ctx context.Context, id string) (*specs.Process, error) {
	ctr, err := e.cfg.Containerd.Client().LoadContainer(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", id, err)
	}
	s, err := ctr.Spec(ctx)
	if err != nil {
		return nil, fmt.Errorf("spec of container %s: %w", id, err)
	}
	return s.Process, nil
}

// resumeIdle deals with a container whose record says that it does not run: it may have been started just before the
// daemon died, or be one that the policy wants up.
func (e *Engine) resumeIdle(ctx context.Context, c *Container, t client.Task) error {
	rec := c.Record()
	if t != nil {
		s, err := t.Status(ctx)
		if err == nil && s.Status == client.Running && rec.State.Status == container.StateCreated {
			// Its start was not acknowledged, but it happened; keeping it is what the starter wanted.
			c.note(func(r *Record) {
				r.State.Status, r.State.Pid, r.State.StartedAt = container.StateRunning, int(t.Pid()), r.Created
			})
			return e.resume(ctx, c)
		}
		if err := c.dismantle(ctx); err != nil {
			return err
		}
	} else if err := c.release(ctx); err != nil { // the daemon died between making the container and its task
		return err
	}
	if _, err := e.cfg.Containerd.Client().SnapshotService(snapshotter).Stat(ctx, rec.ID); errdefs.IsNotFound(err) && rec.State.Status == container.StateCreated {
		return c.remove(ctx, RemoveOptions{Volumes: true}) // its create was not acknowledged: the record comes first, the layer last
	}
	switch {
	case rec.State.Status == container.StateRemoving:
		return c.remove(ctx, RemoveOptions{})
	case rec.HostConfig.AutoRemove && rec.State.Status == container.StateExited:
		return c.remove(ctx, RemoveOptions{Volumes: true})
	case rec.State.Status == container.StateRestarting,
		rec.HostConfig.RestartPolicy.IsAlways() && rec.State.Status == container.StateExited:
		c.note(func(r *Record) { r.State.Status, r.State.Stopped = container.StateRestarting, false })
		e.wg.Go(func() { c.again(pauseBefore(rec.State.Restarts)) })
	}
	return nil
}

// strays removes what containerd has of containers without a record, and the layers of such.
func (e *Engine) strays(ctx context.Context) error {
	cl := e.cfg.Containerd.Client()
	all, err := cl.Containers(ctx)
	if err != nil {
		return fmt.Errorf("list containerd's containers: %w", err)
	}
	for _, ctr := range all {
		if e.containers[ctr.ID()] == nil {
			e.log.Warn("containerd has a container that has no record; it is removed", "container", ctr.ID())
			e.sweep(ctx, ctr.ID())
		}
	}
	// What an earlier daemon was pulling or unpacking when it died is held by leases that nobody will give back.
	leases, err := cl.LeasesService().List(ctx)
	if err != nil {
		return fmt.Errorf("list containerd's leases: %w", err)
	}
	for _, l := range leases {
		if err := cl.LeasesService().Delete(ctx, l); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("give back containerd's lease %s: %w", l.ID, err)
		}
	}
	var layers []string
	err = cl.SnapshotService(snapshotter).Walk(ctx, func(_ context.Context, i snapshots.Info) error {
		if id, ours := i.Labels[snapshotLabel]; ours && e.containers[id] == nil {
			layers = append(layers, i.Name)
		}
		return nil
	})
	for _, l := range layers {
		err = errors.Join(err, ignore(cl.SnapshotService(snapshotter).Remove(ctx, l), errdefs.ErrNotFound))
	}
	return err
}

// sweep removes whatever there is by a container's ID.
func (e *Engine) sweep(ctx context.Context, id string) {
	if strings.Trim(id, "0123456789abcdef") != "" {
		return // not a name that we give
	}
	c := newContainer(e, Record{ID: id, Config: &container.Config{}, HostConfig: &container.HostConfig{}})
	c.removed = true
	if err := errors.Join(c.dismantle(ctx), e.unlay(ctx, c)); err != nil {
		e.log.Warn("remains of a container cannot be removed", "container", id, "error", err)
	}
}
