package load

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// Executor runs tasks without containers: whatever is asked of it has happened at once. It implements agent.Executor.
type Executor struct {
	hostname string

	mu         sync.Mutex
	containers map[string]*container // by task ID
}

type container struct {
	id    string
	state swarm.TaskState
	exit  cluster.Exit
	ended chan struct{} // closed at its end
}

// NewExecutor returns the executor of a node of that name, without containers.
func NewExecutor(hostname string) *Executor {
	return &Executor{hostname: hostname, containers: map[string]*container{}}
}

// The size of a simulated node: room for any number of tasks.
const (
	nodeCPUs   = 64e9
	nodeMemory = 256 << 30
)

// Describe says what the node is.
func (e *Executor) Describe(context.Context) (swarm.NodeDescription, error) {
	return swarm.NodeDescription{
		Hostname:  e.hostname,
		Platform:  swarm.Platform{OS: "linux", Architecture: "x86_64"},
		Resources: swarm.Resources{NanoCPUs: nodeCPUs, MemoryBytes: nodeMemory},
		Engine:    swarm.EngineDescription{EngineVersion: cluster.Version},
	}, nil
}

// List is the containers.
func (e *Executor) List(context.Context) ([]cluster.Running, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := make([]cluster.Running, 0, len(e.containers))
	for id, c := range e.containers {
		list = append(list, cluster.Running{TaskID: id, ContainerID: c.id, State: c.state, Exit: c.exit})
	}
	return list, nil
}

// Prepare makes a container.
func (e *Executor) Prepare(_ context.Context, a cluster.Assignment, _ cluster.Secrets) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.containers[a.Task.ID] == nil {
		var id [32]byte
		rand.Read(id[:])
		e.containers[a.Task.ID] = &container{id: hex.EncodeToString(id[:]), state: swarm.TaskStateReady, ended: make(chan struct{})}
	}
	return nil
}

// Start starts it.
func (e *Executor) Start(_ context.Context, taskID string) (swarm.TaskStatus, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.containers[taskID]
	switch {
	case c == nil:
		return swarm.TaskStatus{}, notFound(taskID)
	case cluster.Terminal(c.state):
		return swarm.TaskStatus{}, cluster.Errorf(errdefs.ErrFailedPrecondition, "the container of task %s has ended", taskID)
	}
	c.state = swarm.TaskStateRunning
	return swarm.TaskStatus{ContainerStatus: &swarm.ContainerStatus{ContainerID: c.id, PID: 1}}, nil
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
		e.mu.Lock()
		defer e.mu.Unlock()
		return c.exit, nil
	case <-ctx.Done():
		return cluster.Exit{}, ctx.Err()
	}
}

// Stop ends it.
func (e *Executor) Stop(_ context.Context, taskID string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.containers[taskID]
	switch {
	case c == nil:
		return notFound(taskID)
	case !cluster.Terminal(c.state):
		c.state, c.exit = swarm.TaskStateComplete, cluster.Exit{FinishedAt: time.Now()}
		close(c.ended)
	}
	return nil
}

// Remove removes it.
func (e *Executor) Remove(_ context.Context, taskID string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.containers, taskID)
	return nil
}

func notFound(taskID string) error {
	return fmt.Errorf("task %s has no container: %w", taskID, errdefs.ErrNotFound)
}

// NoNetwork is a data plane that holds whatever it is told. It implements agent.Network.
type NoNetwork struct{}

// Set takes the state.
func (NoNetwork) Set(context.Context, cluster.NetworkState) error { return nil }
