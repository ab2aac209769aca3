package sim

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// engine is a machine's containers. They live on when the daemon dies, and end when the power does.
type engine struct {
	host       *host
	containers map[string]*container // by task ID
	calls      map[string]uint64     // how often each thing was asked of each task
}

// container is one task's.
type container struct {
	task    cluster.Task
	image   string
	state   swarm.TaskState // READY, RUNNING, COMPLETE or FAILED
	exit    cluster.Exit
	sick    bool
	starts  int
	changed chan struct{} // closed by the next change
}

func newEngine(h *host) *engine {
	return &engine{host: h, containers: map[string]*container{}, calls: map[string]uint64{}}
}

func (e *engine) sorted() []*container {
	out := make([]*container, 0, len(e.containers))
	for _, id := range slices.Sorted(maps.Keys(e.containers)) {
		out = append(out, e.containers[id])
	}
	return out
}

func (c *container) change() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// end ends a running container.
func (e *engine) end(c *container, code int) {
	if c.state != swarm.TaskStateRunning {
		return
	}
	c.state = swarm.TaskStateComplete
	if code != 0 {
		c.state = swarm.TaskStateFailed
	}
	c.exit = cluster.Exit{Code: code, FinishedAt: time.Now().Add(e.host.ahead()).UTC()}
	e.host.w.note("%s: %s of %s ends with %d", e.host.id, short(c.task.ID), c.task.Name(), code)
	c.change()
}

func (e *engine) powerCut() {
	for _, c := range e.sorted() {
		e.end(c, 255)
	}
}

// live gives a container that has begun to run what its image has in store for it.
func (e *engine) live(c *container) {
	w, k := e.host.w, keyOf(c.task.ID)
	after := func(d time.Duration, f func()) {
		time.AfterFunc(d, func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			if e.containers[c.task.ID] == c && w.err == nil {
				f()
			}
		})
	}
	kind, _, _ := strings.Cut(c.image, ":")
	switch {
	case kind == "job":
		after(w.dice.between(time.Second, 5*time.Second, "job", k), func() { e.end(c, 0) })
	case w.calm:
	case kind == "bad", w.dice.one(12, "crash", k):
		after(w.dice.delay(2*time.Second, 40*time.Second, "crash after", k), func() { e.end(c, 1) })
	case kind == "sick":
		after(w.dice.between(time.Second, 9*time.Second, "sick", k), func() {
			c.sick = true
			c.change()
		})
	}
}

// hands is an agent's hold on its machine's containers; it ends with the agent's process.
type hands struct{ p *process }

// begin waits as long as a call takes and gets hold of the world. The number that it returns is the call's own.
func (x *hands) begin(ctx context.Context, what, taskID string, quick, slow time.Duration) (*engine, uint64, error) {
	e := x.p.host.engine
	w := e.host.w
	w.mu.Lock()
	e.calls[what+taskID]++
	k := keyOf(e.host.id+taskID) + e.calls[what+taskID]
	w.mu.Unlock()
	if err := pause(ctx, w.dice.delay(quick, slow, what, k)); err != nil {
		return nil, 0, err
	}
	w.mu.Lock()
	if x.p.dead || ctx.Err() != nil {
		w.mu.Unlock()
		return nil, 0, context.Canceled
	}
	return e, k, nil
}

// Describe says what the machine is.
func (x *hands) Describe(context.Context) (swarm.NodeDescription, error) {
	return swarm.NodeDescription{
		Hostname: x.p.host.id, Platform: swarm.Platform{OS: "linux", Architecture: "x86_64"},
		Resources: swarm.Resources{NanoCPUs: 4e9, MemoryBytes: 8 << 30},
	}, nil
}

// List is the containers.
func (x *hands) List(ctx context.Context) ([]cluster.Running, error) {
	e, _, err := x.begin(ctx, "list", "", 20*time.Millisecond, 100*time.Millisecond)
	if err != nil {
		return nil, err
	}
	defer e.host.w.mu.Unlock()
	var list []cluster.Running
	for _, c := range e.sorted() {
		list = append(list, cluster.Running{TaskID: c.task.ID, ContainerID: "c" + c.task.ID, State: c.state, Exit: c.exit})
	}
	return list, nil
}

// Prepare pulls and creates.
func (x *hands) Prepare(ctx context.Context, a cluster.Assignment, secrets cluster.Secrets) error {
	slow := 3 * time.Second
	image := ""
	if a.Spec.ContainerSpec != nil {
		image = a.Spec.ContainerSpec.Image
	}
	if strings.HasPrefix(image, "slow") {
		slow = 30 * time.Second
	}
	e, k, err := x.begin(ctx, "prepare", a.Task.ID, 300*time.Millisecond, slow)
	if err != nil {
		return err
	}
	w := e.host.w
	defer w.mu.Unlock()
	if !w.calm && (w.dice.one(40, "prepare fails", k) || strings.HasPrefix(image, "unfit")) {
		return cluster.Errorf(errdefs.ErrNotFound, "No such image: %s", image)
	}
	w.rules.prepared(e.host, a, secrets)
	if e.containers[a.Task.ID] == nil {
		e.containers[a.Task.ID] = &container{task: a.Task, image: image, state: swarm.TaskStateReady, changed: make(chan struct{})}
	}
	return nil
}

// Start returns when the container runs.
func (x *hands) Start(ctx context.Context, taskID string) (swarm.TaskStatus, error) {
	e, k, err := x.begin(ctx, "start", taskID, 100*time.Millisecond, 4*time.Second)
	if err != nil {
		return swarm.TaskStatus{}, err
	}
	w := e.host.w
	defer w.mu.Unlock()
	c := e.containers[taskID]
	switch {
	case c == nil:
		return swarm.TaskStatus{}, noContainer(taskID)
	case cluster.Terminal(c.state):
		return swarm.TaskStatus{}, cluster.Errorf(errdefs.ErrFailedPrecondition, "container of task %s has ended", taskID)
	case !w.calm && w.dice.one(40, "start fails", k):
		return swarm.TaskStatus{}, cluster.Errorf(errdefs.ErrInternal, "OCI runtime create failed")
	}
	if c.state == swarm.TaskStateReady {
		c.state = swarm.TaskStateRunning
		c.starts++
		w.note("%s: %s of %s runs", e.host.id, short(taskID), c.task.Name())
		w.rules.started(e.host, c)
		e.live(c)
	}
	return swarm.TaskStatus{ContainerStatus: &swarm.ContainerStatus{ContainerID: "c" + taskID, PID: 42}}, nil
}

// Wait ends when the container has ended or become unhealthy.
func (x *hands) Wait(ctx context.Context, taskID string) (cluster.Exit, error) {
	w := x.p.host.w
	for {
		w.mu.Lock()
		c := x.p.host.engine.containers[taskID]
		if c == nil {
			w.mu.Unlock()
			return cluster.Exit{}, noContainer(taskID)
		}
		exit, ended, sick, changed := c.exit, cluster.Terminal(c.state), c.sick, c.changed
		w.mu.Unlock()
		switch {
		case ctx.Err() != nil:
			return cluster.Exit{}, ctx.Err()
		case ended:
			return exit, nil
		case sick:
			return cluster.Exit{Unhealthy: true}, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// Stop ends the container, after its grace time in the worst case.
func (x *hands) Stop(ctx context.Context, taskID string) error {
	e, k, err := x.begin(ctx, "stop", taskID, 200*time.Millisecond, 10*time.Second)
	if err != nil {
		return err
	}
	w := e.host.w
	defer w.mu.Unlock()
	c := e.containers[taskID]
	switch {
	case c == nil:
		return noContainer(taskID)
	case !w.calm && w.dice.one(30, "stop fails", k):
		return cluster.Errorf(errdefs.ErrUnavailable, "containerd does not answer")
	case w.lie == LieStopped && w.dice.one(3, "lie", k):
	case c.state == swarm.TaskStateReady:
		c.state = swarm.TaskStateComplete
		c.change()
	default:
		e.end(c, 143)
	}
	return nil
}

// Remove removes the container.
func (x *hands) Remove(ctx context.Context, taskID string) error {
	e, k, err := x.begin(ctx, "remove", taskID, 50*time.Millisecond, 2*time.Second)
	if err != nil {
		return err
	}
	w := e.host.w
	defer w.mu.Unlock()
	c := e.containers[taskID]
	switch {
	case c == nil:
		return noContainer(taskID)
	case !w.calm && w.dice.one(30, "remove fails", k):
		return cluster.Errorf(errdefs.ErrUnavailable, "containerd does not answer")
	case c.state == swarm.TaskStateRunning:
		w.fail("%s: the agent removes the running container of %s", e.host.id, c.task.Name())
	}
	delete(e.containers, taskID)
	c.change()
	return nil
}

func noContainer(taskID string) error {
	return fmt.Errorf("task %s has no container: %w", taskID, errdefs.ErrNotFound)
}

// plane is the machine's data plane.
type plane struct{ p *process }

// Set takes a state after a while, and fails now and then.
func (n *plane) Set(ctx context.Context, state cluster.NetworkState) error {
	x := hands(*n)
	e, k, err := x.begin(ctx, "network", "", 10*time.Millisecond, 2*time.Second)
	if err != nil {
		return err
	}
	w := e.host.w
	defer w.mu.Unlock()
	if !w.calm && w.dice.one(50, "network fails", k) {
		return cluster.Errorf(errdefs.ErrUnavailable, "netlink receive: device or resource busy")
	}
	return nil
}

// keyOf makes a number of a name, for dice.
func keyOf(name string) uint64 { return dice(0).roll(1<<63, name, 0) }

func short(id string) string { return id[:min(len(id), 8)] }
