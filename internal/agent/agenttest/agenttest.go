// Package agenttest gives tests an executor without containers: it remembers what it was told, and lets the test end
// containers and make calls fail. It never runs in the product.
package agenttest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// Executor is an engine that only remembers. It may outlive an agent, as containers do.
type Executor struct {
	Hostname string

	mu         sync.Mutex
	containers map[string]*container // by task ID
	starts     map[string]int        // how often each task was started
	prepare    func(cluster.Assignment, cluster.Secrets) error
	changed    chan struct{}
}

type container struct {
	state swarm.TaskState
	exit  cluster.Exit
	ended chan struct{}
}

// New returns an executor with no containers.
func New(hostname string) *Executor {
	return &Executor{Hostname: hostname, containers: map[string]*container{}, starts: map[string]int{}, changed: make(chan struct{})}
}

// OnPrepare has f decide about every Prepare.
func (e *Executor) OnPrepare(f func(cluster.Assignment, cluster.Secrets) error) {
	e.set(func() { e.prepare = f })
}

// End ends a task's container.
func (e *Executor) End(taskID string, exit cluster.Exit) {
	e.set(func() {
		if c := e.containers[taskID]; c != nil && c.state == swarm.TaskStateRunning {
			c.end(exit)
		}
	})
}

// Lose makes a task's container vanish.
func (e *Executor) Lose(taskID string) { e.set(func() { delete(e.containers, taskID) }) }

// Running are the IDs of the tasks whose containers run, sorted.
func (e *Executor) Running() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var ids []string
	for id, c := range e.containers {
		if c.state == swarm.TaskStateRunning {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Containers are the IDs of the tasks that have containers, sorted.
func (e *Executor) Containers() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Sorted(maps.Keys(e.containers))
}

// Starts is how often a task was started.
func (e *Executor) Starts(taskID string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.starts[taskID]
}

// Changed returns a channel that is closed by the next change.
func (e *Executor) Changed() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.changed
}

func (e *Executor) set(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f()
	close(e.changed)
	e.changed = make(chan struct{})
}

func (c *container) end(exit cluster.Exit) {
	c.state, c.exit = swarm.TaskStateComplete, exit
	if exit.Code != 0 {
		c.state = swarm.TaskStateFailed
	}
	close(c.ended)
}

// Describe says what the node is.
func (e *Executor) Describe(context.Context) (swarm.NodeDescription, error) {
	return swarm.NodeDescription{Hostname: e.Hostname, Platform: swarm.Platform{OS: "linux", Architecture: "x86_64"}}, nil
}

// List is the containers.
func (e *Executor) List(context.Context) ([]cluster.Running, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var list []cluster.Running
	for _, id := range slices.Sorted(maps.Keys(e.containers)) {
		c := e.containers[id]
		list = append(list, cluster.Running{TaskID: id, ContainerID: "c-" + id, State: c.state, Exit: c.exit})
	}
	return list, nil
}

// Prepare makes a container.
func (e *Executor) Prepare(_ context.Context, a cluster.Assignment, s cluster.Secrets) (err error) {
	e.set(func() {
		if e.prepare != nil {
			if err = e.prepare(a, s); err != nil {
				return
			}
		}
		if e.containers[a.Task.ID] == nil {
			e.containers[a.Task.ID] = &container{state: swarm.TaskStateReady, ended: make(chan struct{})}
		}
	})
	return err
}

// Start starts it.
func (e *Executor) Start(_ context.Context, taskID string) (s swarm.TaskStatus, err error) {
	e.set(func() {
		c := e.containers[taskID]
		switch {
		case c == nil:
			err = notFound(taskID)
			return
		case c.state == swarm.TaskStateReady:
			c.state = swarm.TaskStateRunning
			e.starts[taskID]++
		case cluster.Terminal(c.state):
			err = cluster.Errorf(errdefs.ErrFailedPrecondition, "container of task %s has ended", taskID)
			return
		}
		s.ContainerStatus = &swarm.ContainerStatus{ContainerID: "c-" + taskID, PID: 42}
	})
	return s, err
}

// Wait waits for its end.
func (e *Executor) Wait(ctx context.Context, taskID string) (cluster.Exit, error) {
	e.mu.Lock()
	c := e.containers[taskID]
	e.mu.Unlock()
	if c == nil {
		return cluster.Exit{}, notFound(taskID)
	}
	select {
	case <-c.ended:
		return c.exit, nil
	case <-ctx.Done():
		return cluster.Exit{}, ctx.Err()
	}
}

// Stop ends it.
func (e *Executor) Stop(_ context.Context, taskID string) (err error) {
	e.set(func() {
		switch c := e.containers[taskID]; {
		case c == nil:
			err = notFound(taskID)
		case !cluster.Terminal(c.state):
			c.end(cluster.Exit{Code: 143, FinishedAt: time.Now()})
		}
	})
	return err
}

// Remove removes it.
func (e *Executor) Remove(_ context.Context, taskID string) error {
	e.set(func() { delete(e.containers, taskID) })
	return nil
}

func notFound(taskID string) error {
	return fmt.Errorf("task %s has no container: %w", taskID, errdefs.ErrNotFound)
}

// Network remembers the states it was given.
type Network struct {
	mu     sync.Mutex
	states []cluster.NetworkState
}

// Set takes a state.
func (n *Network) Set(_ context.Context, state cluster.NetworkState) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.states = append(n.states, state)
	return nil
}

// Last is the newest state.
func (n *Network) Last() cluster.NetworkState {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.states) == 0 {
		return cluster.NetworkState{}
	}
	return n.states[len(n.states)-1]
}
