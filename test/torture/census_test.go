package torture

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
)

// process is one process of the machine, as the machine counts.
type process struct {
	PID  int
	Args []string
}

// processes lists the processes that /proc shows.
func processes() (all []process) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		b, err := os.ReadFile(d + "/cmdline")
		if pid, perr := strconv.Atoi(filepath.Base(d)); err == nil && perr == nil && len(b) > 0 {
			all = append(all, process{pid, strings.Split(strings.TrimRight(string(b), "\x00"), "\x00")})
		}
	}
	return all
}

// census is who is there: by the store, by the API, by containerd, by the kernel.
type census struct {
	services   []swarm.Service
	tasks      []swarm.Task
	containers []container.Summary
	known      map[string]int // containerd's containers, with the process numbers of their tasks; 0: no task
	layers     []string       // containerd's snapshots that belong to a container
	shims      []string       // container IDs of the shims that run, one each
	programs   []int          // processes of the sample image
	folders    []string       // container IDs with a folder
}

func (r *rig) census(ctx context.Context) (c census, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	services, err := r.docker.ServiceList(ctx, client.ServiceListOptions{})
	if err != nil {
		return c, err
	}
	tasks, err := r.docker.TaskList(ctx, client.TaskListOptions{})
	if err != nil {
		return c, err
	}
	list, err := r.docker.ContainerList(ctx, client.ContainerListOptions{All: true})
	if err != nil {
		return c, err
	}
	c.services, c.tasks, c.containers = services.Items, tasks.Items, list.Items
	if err := c.askContainerd(ctx, filepath.Join(r.exec(), "containerd", "containerd.sock")); err != nil {
		return c, err
	}
	self, err := os.Executable()
	if err != nil {
		return c, err
	}
	var all []process
	if err := json.Unmarshal([]byte(r.run(self, processesWord)), &all); err != nil {
		return c, err
	}
	for _, p := range all {
		switch filepath.Base(p.Args[0]) {
		case "web":
			c.programs = append(c.programs, p.PID)
		case "containerd-shim-shoal-v1":
			if i := slices.Index(p.Args, "-id"); i > 0 && i+1 < len(p.Args) {
				c.shims = append(c.shims, p.Args[i+1])
			}
		}
	}
	c.folders = names(filepath.Join(r.data(), "containers"))
	return c, nil
}

func names(dir string) (all []string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func (c *census) askContainerd(ctx context.Context, socket string) error {
	ctx = namespaces.WithNamespace(ctx, "shoal")
	cl, err := containerd.New(socket)
	if err != nil {
		return err
	}
	defer cl.Close()
	all, err := cl.Containers(ctx)
	if err != nil {
		return err
	}
	c.known = map[string]int{}
	for _, ctr := range all {
		c.known[ctr.ID()] = 0
		if t, err := ctr.Task(ctx, nil); err == nil {
			c.known[ctr.ID()] = int(t.Pid())
		}
	}
	return cl.SnapshotService("overlayfs").Walk(ctx, func(_ context.Context, i snapshots.Info) error {
		if i.Kind == snapshots.KindActive && !strings.HasPrefix(i.Name, "extract-") { // those are an image's, being unpacked
			c.layers = append(c.layers, i.Name)
		}
		return nil
	})
}

// faults compares what is there with what was promised, and with itself. None: every service runs as it was acknowledged,
// each of its slots has one task, each task one container, one shim and one process, and nothing else is there.
func (c *census) faults(promised map[string]promise) (faults []string) {
	fault := func(format string, a ...any) { faults = append(faults, fmt.Sprintf(format, a...)) }
	names := map[string]string{}
	for _, s := range c.services {
		name := s.Spec.Name
		names[s.ID] = name
		p, ok := promised[name]
		switch {
		case !ok:
			fault("service %s is there, and its removal was acknowledged or its creation never", name)
		case p.id != s.ID:
			fault("service %s has ID %s, and %s was acknowledged", name, s.ID, p.id)
		case *s.Spec.Mode.Replicated.Replicas != p.replicas:
			fault("service %s has %d replicas, and %d were acknowledged", name, *s.Spec.Mode.Replicated.Replicas, p.replicas)
		}
	}
	for name, p := range promised {
		if names[p.id] != name {
			fault("service %s is not there, and was acknowledged", name)
		}
	}
	running := c.taskFaults(names, promised, fault)
	c.containerFaults(running, fault)
	slices.Sort(faults)
	return faults
}

// taskFaults checks the slots and returns the container of each task that runs.
func (c *census) taskFaults(names map[string]string, promised map[string]promise, fault func(string, ...any)) map[string]string {
	running := map[string]string{} // container to task
	slots := map[string]string{}   // name and slot to task
	count := map[string]uint64{}   // service to tasks that run
	for _, t := range c.tasks {
		name, ok := names[t.ServiceID]
		where := fmt.Sprintf("%s.%d", name, t.Slot)
		if !ok {
			fault("task %s (%s) is of no service", t.ID, t.Status.State)
			continue
		}
		if t.DesiredState != swarm.TaskStateRunning {
			if !ended(t.Status.State) {
				fault("task %s of %s should be %s and is %s", t.ID, where, t.DesiredState, t.Status.State)
			}
			continue
		}
		if other := slots[where]; other != "" {
			fault("slot %s is doubled: tasks %s and %s", where, other, t.ID)
		}
		slots[where] = t.ID
		if t.Status.State != swarm.TaskStateRunning {
			fault("task %s of %s is %s: %s", t.ID, where, t.Status.State, t.Status.Err)
			continue
		}
		count[name]++
		running[t.Status.ContainerStatus.ContainerID] = t.ID
	}
	for name, p := range promised {
		if count[name] != p.replicas {
			fault("service %s has %d tasks that run, want %d", name, count[name], p.replicas)
		}
	}
	return running
}

func ended(s swarm.TaskState) bool {
	return slices.Contains([]swarm.TaskState{
		swarm.TaskStateComplete, swarm.TaskStateShutdown, swarm.TaskStateFailed, swarm.TaskStateRejected,
		swarm.TaskStateRemove, swarm.TaskStateOrphaned,
	}, s)
}

// containerFaults checks that containers, containerd's tasks, shims and processes are the same ones.
func (c *census) containerFaults(running map[string]string, fault func(string, ...any)) {
	tasks := map[string]bool{}
	for _, t := range c.tasks {
		tasks[t.ID] = true
	}
	have := map[string]bool{}
	for _, ctr := range c.containers {
		have[ctr.ID] = true
		task := ctr.Labels["com.docker.swarm.task.id"]
		switch up := ctr.State == container.StateRunning; {
		case !tasks[task]:
			fault("container %.12s (%s) is orphaned: task %s is not there", ctr.ID, ctr.State, task)
		case up && running[ctr.ID] != task:
			fault("container %.12s runs, and its task %s does not", ctr.ID, task)
		case !up && running[ctr.ID] != "":
			fault("container %.12s is %s, and its task %s runs", ctr.ID, ctr.State, task)
		}
	}
	for id, task := range running {
		if !have[id] {
			fault("task %s runs, and its container %.12s is not there", task, id)
		}
	}
	want := slices.Sorted(maps.Keys(running))
	same := func(what string, got []string) {
		slices.Sort(got)
		if !slices.Equal(got, want) {
			fault("%s: %s", what, difference(want, got))
		}
	}
	same("containerd's containers", slices.Collect(maps.Keys(c.known)))
	same("shims", c.shims)
	for id, pid := range c.known {
		if pid == 0 || !slices.Contains(c.programs, pid) {
			fault("containerd's container %.12s has no process (%d)", id, pid)
		}
	}
	if len(c.programs) != len(want) {
		fault("%d processes of the image run, want %d", len(c.programs), len(want))
	}
	all := slices.Sorted(maps.Keys(have))
	for what, got := range map[string][]string{"container folders": c.folders, "container layers": c.layers} {
		slices.Sort(got)
		if !slices.Equal(got, all) {
			fault("%s: %s", what, difference(all, got))
		}
	}
}

func difference(want, got []string) string {
	var parts []string
	for _, id := range want {
		if !slices.Contains(got, id) {
			parts = append(parts, fmt.Sprintf("%.12s is missing", id))
		}
	}
	for i, id := range got {
		if !slices.Contains(want, id) {
			parts = append(parts, fmt.Sprintf("%.12s is too many", id))
		} else if i > 0 && got[i-1] == id {
			parts = append(parts, fmt.Sprintf("%.12s is doubled", id))
		}
	}
	return strings.Join(parts, ", ")
}
