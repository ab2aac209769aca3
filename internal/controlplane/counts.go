package controlplane

import (
	"context"
	"sync"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// counter knows how many tasks of each service run and should run, so that a listing of services need not walk all tasks.
// It is a cache: it follows the store's changes when it is asked, and counts anew when they are no longer kept. The zero
// value is empty.
type counter struct {
	mu       sync.Mutex
	counted  bool
	index    uint64 // of the state that is counted
	services map[string]tally
}

// tally is the counts of one service.
type tally struct{ running, wanted int }

func (t *tally) add(task *cluster.Task, by int) {
	if task.Status.State == swarm.TaskStateRunning {
		t.running += by
	}
	if wanted(task) {
		t.wanted += by
	}
}

// wanted says whether the task is one that its service should have: it runs or will, or it is a job's that has not ended.
func wanted(t *cluster.Task) bool {
	return t.DesiredState == swarm.TaskStateRunning || t.DesiredState == swarm.TaskStateComplete && t.Status.State != swarm.TaskStateComplete
}

// now returns the newest view of s and a copy of its counts for the services that are asked for, without those of the
// tasks on nodes that are down in running.
func (c *counter) now(s *store.Store) (store.View, func(serviceID string) tally) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := s.View()
	if !c.counted || v.Index() < c.index || !c.follow(s, v.Index()) {
		c.count(v)
	}
	c.index, c.counted = v.Index(), true
	lost := onNodesDown(v)
	tallies := make(map[string]tally, store.Services.Len(v))
	for svc := range store.Services.All(v) {
		t := c.services[svc.ID]
		t.running -= lost[svc.ID]
		tallies[svc.ID] = t
	}
	return v, func(id string) tally { return tallies[id] }
}

// follow takes over the changes up to index; false: some of them are no longer kept.
func (c *counter) follow(s *store.Store, index uint64) bool {
	if c.index == index {
		return true
	}
	for ev, err := range s.Watch(context.Background(), c.index) {
		if err != nil {
			return false
		}
		for _, ch := range ev.Changes {
			if ch.Table != store.Tasks.Name() {
				continue
			}
			if old, _ := ch.Old.(*cluster.Task); old != nil {
				c.book(old, -1)
			}
			if now, _ := ch.New.(*cluster.Task); now != nil {
				c.book(now, 1)
			}
		}
		if ev.Index == index {
			return true
		}
	}
	return false
}

func (c *counter) count(v store.View) {
	c.services = map[string]tally{}
	for t := range store.Tasks.All(v) {
		c.book(t, 1)
	}
}

func (c *counter) book(task *cluster.Task, by int) {
	t := c.services[task.ServiceID]
	t.add(task, by)
	if t == (tally{}) {
		delete(c.services, task.ServiceID)
		return
	}
	c.services[task.ServiceID] = t
}

// onNodesDown counts by service the tasks whose last word was that they run, on a node that is down: they have been
// replaced.
func onNodesDown(r store.Reader) map[string]int {
	lost := map[string]int{}
	for n := range store.Nodes.All(r) {
		if n.Status.State != swarm.NodeStateDown {
			continue
		}
		for t := range store.Tasks.By(r, store.TaskNode, n.ID) {
			if t.Status.State == swarm.TaskStateRunning {
				lost[t.ServiceID]++
			}
		}
	}
	return lost
}
