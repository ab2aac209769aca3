package agent

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// tasks are all tasks of the node.
type tasks struct {
	agent    *Agent
	executor Executor
	slots    chan struct{} // one for each task that is being prepared
	changed  chan struct{} // holds one token: the assignments are others

	ctx     context.Context // of Run; ended before it
	running sync.WaitGroup  // tasks' goroutines

	mu      sync.Mutex
	over    bool // no goroutine starts any more
	byID    map[string]*task
	secrets Secrets
}

func newTasks(a *Agent) *tasks {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return &tasks{
		agent: a, executor: a.config.Executor, slots: make(chan struct{}, a.config.Parallel),
		changed: make(chan struct{}, 1), ctx: ctx, over: true, byID: map[string]*task{},
	}
}

// remembered are the assignments of an earlier run; nothing is done about them but to watch what runs.
func (ts *tasks) remembered(list []cluster.Assignment) {
	for _, a := range list {
		ts.byID[a.Task.ID] = &task{id: a.Task.ID, tasks: ts, want: a, status: a.Task.Status, situation: situation{
			state: a.Task.Status.State, desired: a.Task.DesiredState,
		}}
	}
}

// begin adopts the containers that are there. What runs is watched at once; whatever else is to be done waits for the
// manager's word.
func (ts *tasks) begin(ctx context.Context, list []cluster.Running) {
	ts.mu.Lock()
	ts.ctx, ts.over = ctx, false
	for _, r := range list {
		if ts.byID[r.TaskID] == nil {
			ts.byID[r.TaskID] = &task{id: r.TaskID, tasks: ts, situation: situation{desired: swarm.TaskStateRunning}}
		}
	}
	ts.mu.Unlock()
	for _, r := range list {
		t := ts.get(r.TaskID)
		t.change(func() { t.adopt(r) })
	}
	for _, t := range ts.all() { // remembered as running, and not there any more
		t.change(func() {})
	}
}

// adopt takes over a container that was there before the agent.
func (t *task) adopt(r cluster.Running) {
	t.situation.container = true
	t.situation.stopped = r.State != swarm.TaskStateRunning
	if t.status.ContainerStatus == nil || t.status.ContainerStatus.ContainerID != r.ContainerID {
		t.status.ContainerStatus = &swarm.ContainerStatus{ContainerID: r.ContainerID}
	}
	if cluster.Rank(r.State) <= cluster.Rank(t.situation.state) {
		return
	}
	status := swarm.TaskStatus{State: r.State, Message: "started", ContainerStatus: t.status.ContainerStatus, Timestamp: time.Now().UTC()}
	if cluster.Terminal(r.State) {
		status = endStatus(t.status, r.Exit)
		if status.Timestamp.IsZero() {
			status.Timestamp = time.Now().UTC()
		}
	}
	t.status, t.situation.state = status, status.State
	t.tasks.agent.reports.put(t.id, status)
}

// apply does what a message says of tasks and secrets.
func (ts *tasks) apply(down *cluster.Down) {
	if down.SecretsSet {
		ts.mu.Lock()
		ts.secrets = Secrets{Secrets: down.Secrets, Configs: down.Configs}
		ts.mu.Unlock()
	}
	named := make(map[string]bool, len(down.Tasks))
	for _, a := range down.Tasks {
		named[a.Task.ID] = true
		ts.assign(a)
	}
	for _, id := range down.Gone {
		ts.drop(ts.get(id))
	}
	if down.Full {
		for _, t := range ts.all() {
			if !named[t.id] {
				ts.drop(t)
			}
		}
	}
	if down.Full || len(down.Tasks)+len(down.Gone) > 0 {
		token(ts.changed)
	}
}

// assign takes a task's newest assignment.
func (ts *tasks) assign(a cluster.Assignment) {
	ts.mu.Lock()
	t := ts.byID[a.Task.ID]
	if t == nil {
		t = &task{id: a.Task.ID, tasks: ts, status: a.Task.Status, situation: situation{state: a.Task.Status.State}}
		ts.byID[t.id] = t
	}
	ts.mu.Unlock()
	t.change(func() {
		t.want = a
		t.situation.desired, t.situation.confirmed = a.Task.DesiredState, true
		t.compare(a.Task.Status)
	})
}

// compare settles a difference between the manager's word on the task's state and the node's own: the higher one holds.
func (t *task) compare(status swarm.TaskStatus) {
	have, theirs := cluster.Rank(t.situation.state), cluster.Rank(status.State)
	switch {
	case have > theirs:
		t.tasks.agent.reports.put(t.id, t.status)
	case theirs > have:
		if status.ContainerStatus == nil {
			status.ContainerStatus = t.status.ContainerStatus
		}
		t.status, t.situation.state = status, status.State
	}
}

// drop has the task stopped, removed and forgotten.
func (ts *tasks) drop(t *task) {
	if t == nil {
		return
	}
	ts.agent.reports.forget(t.id)
	t.change(func() { t.situation.gone, t.situation.confirmed = true, true })
}

// forget ends a task of which nothing is left.
func (ts *tasks) forget(t *task) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	delete(ts.byID, t.id)
	ts.agent.reports.forget(t.id)
}

func (ts *tasks) get(id string) *task {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	return ts.byID[id]
}

// all are the tasks in the order of their IDs.
func (ts *tasks) all() []*task {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	list := make([]*task, 0, len(ts.byID))
	for _, t := range ts.byID {
		list = append(list, t)
	}
	slices.SortFunc(list, func(a, b *task) int { return cmp.Compare(a.id, b.id) })
	return list
}

// assignments are the tasks as they are to be remembered: with the state that the node knows.
func (ts *tasks) assignments() []cluster.Assignment {
	all := ts.all()
	list := make([]cluster.Assignment, 0, len(all))
	for _, t := range all {
		t.mu.Lock()
		if !t.situation.gone && t.want.Task.ID != "" {
			a := t.want
			a.Task.Status = t.status
			list = append(list, a)
		}
		t.mu.Unlock()
	}
	return list
}

func (ts *tasks) secretsNow() Secrets {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	return ts.secrets
}

// enter lets a task's goroutine start.
func (ts *tasks) enter() bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.over {
		return false
	}
	ts.running.Add(1)
	return true
}

// slot waits until few enough tasks are being prepared.
func (ts *tasks) slot(ctx context.Context) bool {
	select {
	case ts.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (ts *tasks) release() { <-ts.slots }

// wait returns when no task's goroutine lives; Run's context has ended.
func (ts *tasks) wait() {
	ts.mu.Lock()
	ts.over = true
	ts.mu.Unlock()
	ts.running.Wait()
}

// clear stops and removes every task.
func (ts *tasks) clear(ctx context.Context) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for _, t := range ts.all() {
		wg.Go(func() {
			if !ts.slot(ctx) {
				return
			}
			defer ts.release()
			err := ts.executor.Stop(ctx, t.id)
			if err == nil || errors.Is(err, errdefs.ErrNotFound) {
				err = ts.executor.Remove(ctx, t.id)
			}
			if err != nil && !errors.Is(err, errdefs.ErrNotFound) {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
				return
			}
			ts.forget(t)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
