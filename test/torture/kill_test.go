package torture

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
)

// TestKills kills the daemon, containerd and both in turn, at any moment, while clients write. Afterwards every acknowledged
// write is there, every service runs as it was asked for, no container is doubled, orphaned or forgotten, and one that nobody
// touched is the same as before.
func TestKills(t *testing.T) {
	kills := number(t, "SHOAL_TORTURE_KILLS", 12)
	seed := number(t, "SHOAL_TORTURE_SEED", time.Now().UnixNano()%1e6)
	t.Logf("SHOAL_TORTURE_SEED=%d", seed)
	r := newRig(t, "10.99.71.0/24")
	r.init()
	steady := promise{r.create(r.spec("steady", "", `"Mode":{"Replicated":{"Replicas":3}}`)), 3}
	r.settle(map[string]promise{"steady": steady})
	before := r.hosts(steady.id)

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var working sync.WaitGroup
	var customers []*customer
	for i := range 5 {
		docker, err := client.New(client.WithHost("unix://" + r.machine.Socket()))
		if err != nil {
			t.Fatal(err)
		}
		defer docker.Close()
		c := &customer{number: i, docker: docker, image: r.image, random: rand.New(rand.NewPCG(uint64(seed), uint64(i))), promised: map[string]promise{}}
		customers = append(customers, c)
		working.Go(func() { c.work(ctx) })
	}
	random := rand.New(rand.NewPCG(uint64(seed), 1000))
	for i := range kills {
		if !pause(ctx, time.Duration(random.IntN(1500))*time.Millisecond) {
			break
		}
		r.strike([]string{"daemon", "containerd", "both"}[i%3], random)
		if random.IntN(3) > 0 { // else the next blow may fall while it starts
			r.ready()
		}
	}
	r.ready()
	stop()
	working.Wait()

	promised := map[string]promise{"steady": steady}
	acks, lost := 0, 0
	for _, c := range customers {
		maps.Copy(promised, c.promised)
		acks, lost = acks+c.acks, lost+c.lost
		for _, f := range c.faults {
			t.Error(f)
		}
	}
	t.Logf("%d kills; %d writes acknowledged, %d answers lost; %d services stay", kills, acks, lost, len(promised))
	if acks < 2*int(kills) {
		t.Errorf("only %d writes were acknowledged: too few to prove anything", acks)
	}
	began := time.Now()
	r.settle(promised)
	t.Logf("settled %v after the last kill", time.Since(began).Round(time.Millisecond))
	for why, n := range r.failures() {
		t.Logf("%d tasks failed: %s", n, why)
	}
	if after := r.hosts(steady.id); !slices.Equal(before, after) {
		t.Errorf("containers that nobody touched were %v and are %v", before, after)
	}
	for _, p := range promised {
		if _, err := r.docker.ServiceRemove(t.Context(), p.id, client.ServiceRemoveOptions{}); err != nil {
			t.Error(err)
		}
	}
	r.settle(nil)
	r.emptied()
}

// failures counts why tasks have failed, as far as the history goes.
func (r *rig) failures() map[string]int {
	r.Helper()
	list, err := r.docker.TaskList(r.Context(), client.TaskListOptions{})
	if err != nil {
		r.Fatal(err)
	}
	why := map[string]int{}
	for _, t := range list.Items {
		if t.Status.State == swarm.TaskStateFailed || t.Status.State == swarm.TaskStateRejected {
			why[string(t.Status.State)+" "+t.Status.Err]++
		}
	}
	return why
}

// hosts are the containers of a service's tasks that should run, sorted.
func (r *rig) hosts(service string) (ids []string) {
	for _, t := range r.tasks(service) {
		if t.DesiredState == swarm.TaskStateRunning && t.Status.ContainerStatus != nil {
			ids = append(ids, t.Status.ContainerStatus.ContainerID)
		}
	}
	slices.Sort(ids)
	return ids
}

// strike kills one of the two, or both, and starts the daemon again if it was hit.
func (r *rig) strike(whom string, random *rand.Rand) {
	r.Helper()
	if !r.alive() {
		r.Fatal("the daemon has ended by itself")
	}
	if pid := r.containerd(); pid > 0 && whom != "daemon" {
		_ = r.machine.Signal(r.Context(), pid, syscall.SIGKILL, false) // it may be down from the blow before
	}
	if whom == "containerd" {
		return
	}
	r.kill()
	pause(r.Context(), time.Duration(random.IntN(500))*time.Millisecond)
	r.launch()
}

// settle waits until everything is as promised.
func (r *rig) settle(promised map[string]promise) {
	r.Helper()
	last := ""
	r.await(60*time.Second, "the machine does not come to rest", func() (bool, string) {
		c, err := r.census(r.Context())
		if err != nil {
			return false, err.Error()
		}
		faults := c.faults(promised)
		if len(faults) == 0 {
			r.Logf("what settled last: %s", last)
			return true, ""
		}
		last = strings.Join(faults, "\n")
		return false, last
	})
}

// emptied checks that no network piece of a container is left on the machine when no container is.
func (r *rig) emptied() {
	r.Helper()
	r.await(10*time.Second, "something is left of the containers", func() (bool, string) {
		var left []string
		if l := r.run("sh", "-c", "cd /sys/class/net && grep -l . */brport/state 2>/dev/null || true"); strings.TrimSpace(l) != "" {
			left = append(left, "links on bridges: "+strings.Join(strings.Fields(l), " "))
		}
		if m := r.run("sh", "-c", "grep -c ' "+r.exec()+"/containerd/.*rootfs ' /proc/self/mounts || true"); strings.TrimSpace(m) != "0" {
			left = append(left, "root file systems mounted: "+strings.TrimSpace(m))
		}
		return len(left) == 0, strings.Join(left, "\n")
	})
	for _, dir := range []string{"a", "fifo"} {
		if l := names(fmt.Sprintf("%s/%s", r.exec(), dir)); len(l) > 0 {
			r.Errorf("files are left in %s/%s: %v", r.exec(), dir, l)
		}
	}
}
