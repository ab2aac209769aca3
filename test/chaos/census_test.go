package chaos

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"

	"shoal/internal/cli/playground"
)

// settle waits until everything is as it should be: nodes ready, managers reachable, the replicas running, one container to each
// of them and no other anywhere, and every node's kernel as the swarm says.
func (r *rig) settle(limit time.Duration) {
	r.Helper()
	began := time.Now()
	r.await(limit, "nodes", r.nodesReady)
	r.await(limit, "tasks", func() error { return r.tasksRun(nil) })
	r.await(limit, "containers", r.containersMatch)
	for _, m := range r.play.Machines() {
		r.await(limit, "network of "+m.Name, func() error { return r.doctor(m) })
	}
	r.Logf("settled after %v", time.Since(began).Round(100*time.Millisecond))
}

func (r *rig) nodesReady() error {
	list, err := r.nodes()
	if err != nil {
		return err
	}
	for _, n := range list {
		if n.Status.State != swarm.NodeStateReady {
			return fmt.Errorf("%s is %s: %s", n.Description.Hostname, n.Status.State, n.Status.Message)
		}
		if n.ManagerStatus != nil && n.ManagerStatus.Reachability != swarm.ReachabilityReachable {
			return fmt.Errorf("manager %s is %s", n.Description.Hostname, n.ManagerStatus.Reachability)
		}
	}
	if len(list) != managers+workers {
		return fmt.Errorf("%d nodes", len(list))
	}
	return nil
}

// tasks lists the service's tasks that should run.
func (r *rig) tasks() ([]swarm.Task, error) {
	return first(r, func(ctx context.Context, api *client.Client) ([]swarm.Task, error) {
		list, err := api.TaskList(ctx, client.TaskListOptions{Filters: make(client.Filters).Add("service", service).Add("desired-state", "running")})
		return list.Items, err
	})
}

// tasksRun says whether all replicas run, each slot once, none of them on a machine that is left out.
func (r *rig) tasksRun(without *playground.Machine) error {
	list, err := r.tasks()
	if err != nil {
		return err
	}
	lost := ""
	if without != nil {
		nodes, err := r.nodes()
		if err != nil {
			return err
		}
		for _, n := range nodes {
			if n.Description.Hostname == without.Name {
				lost = n.ID
			}
		}
	}
	slots := map[int]string{}
	for _, t := range list {
		if t.Status.State != swarm.TaskStateRunning {
			return fmt.Errorf("%s.%d on node %s is %s since %v: %s", service, t.Slot, t.NodeID, t.Status.State, t.Status.Timestamp, t.Status.Err)
		}
		if t.NodeID == lost {
			return fmt.Errorf("%s.%d is still told to run on %s", service, t.Slot, without.Name)
		}
		if slots[t.Slot] != "" {
			return fmt.Errorf("slot %d has two tasks", t.Slot)
		}
		slots[t.Slot] = t.ID
	}
	if len(slots) != replicas {
		return fmt.Errorf("%d of %d replicas run", len(slots), replicas)
	}
	return nil
}

// containersMatch compares the tasks with the containers that the machines themselves know to run.
func (r *rig) containersMatch() error {
	list, err := r.tasks()
	if err != nil {
		return err
	}
	var want, have []string
	for _, t := range list {
		if t.Status.ContainerStatus != nil {
			want = append(want, t.Status.ContainerStatus.ContainerID)
		}
	}
	for _, m := range r.play.Machines() {
		here, err := r.containers(m)
		if err != nil {
			return err
		}
		for _, c := range here {
			have = append(have, c.ID)
		}
	}
	slices.Sort(want)
	slices.Sort(have)
	if !slices.Equal(want, have) {
		return fmt.Errorf("tasks have containers %.12s, machines run %.12s", want, have)
	}
	return nil
}

// containers lists the service's containers that run on a machine, by its own daemon.
func (r *rig) containers(m *playground.Machine) ([]container.Summary, error) {
	ctx, cancel := context.WithTimeout(r.Context(), requestTime)
	defer cancel()
	list, err := r.api[m.Number].ContainerList(ctx, client.ContainerListOptions{Filters: make(client.Filters).Add("label", "com.docker.swarm.service.name="+service)})
	return list.Items, err
}

// doctor compares a machine's kernel with what it should hold.
func (r *rig) doctor(m *playground.Machine) error {
	ctx, cancel := context.WithTimeout(r.Context(), 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, r.play.Shoal, "-H", "unix://"+m.Socket(), "doctor", "network").CombinedOutput()
	if err != nil {
		return fmt.Errorf("shoal doctor network on %s: %w: %s", m.Name, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// sentry looks all the time for a slot with containers on two machines at once.
type sentry struct {
	faults []string // valid after stop
	stop   func()
}

const sentryInterval = 250 * time.Millisecond

// watch starts a sentry over the machines but one, which is broken just now: what runs there nobody can know.
func (r *rig) watch(broken *playground.Machine) *sentry {
	ctx, cancel := context.WithCancel(r.Context())
	s, over := &sentry{}, make(chan struct{})
	s.stop = func() { cancel(); <-over }
	go func() {
		defer close(over)
		tick := time.NewTicker(sentryInterval)
		defer tick.Stop()
		before := map[string]bool{}
		for {
			slots, seen := map[string]string{}, map[string]bool{}
			for _, m := range r.play.Machines() {
				if m.Number == broken.Number {
					continue
				}
				list, err := r.containers(m)
				if err != nil {
					continue
				}
				for _, c := range list {
					// SERVICE.SLOT.TASK
					name := c.Labels["com.docker.swarm.task.name"]
					slot := name[:max(0, strings.LastIndexByte(name, '.'))]
					if c.State != container.StateRunning {
						continue
					}
					if other := slots[slot]; other != "" {
						fault := fmt.Sprintf("slot %s runs twice: %s, and %s on %s", slot, other, name, m.Name)
						if before[fault] { // the machines are not asked at one instant: seen once is not enough
							s.faults = append(s.faults, fault)
						}
						seen[fault] = true
					}
					slots[slot] = name + " on " + m.Name
				}
			}
			before = seen
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return s
}
