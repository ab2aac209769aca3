package torture

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"
)

// TestKills kills the daemon, containerd and both in turn, at any moment, while clients write. Afterwards every acknowledged
// write is there, every service runs as it was asked for, and no container is doubled, orphaned or forgotten.
func TestKills(t *testing.T) {
	kills := number(t, "SHOAL_TORTURE_KILLS", 12)
	seed := number(t, "SHOAL_TORTURE_SEED", time.Now().UnixNano()%1e6)
	t.Logf("SHOAL_TORTURE_SEED=%d", seed)
	r := newRig(t, "10.99.71.0/24")
	r.init()

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

	promised := map[string]promise{}
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
	for _, p := range promised {
		if _, err := r.docker.ServiceRemove(t.Context(), p.id, client.ServiceRemoveOptions{}); err != nil {
			t.Error(err)
		}
	}
	r.settle(nil)
	r.emptied()
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
	r.await(60*time.Second, "the machine does not come to rest", func() (bool, string) {
		c, err := r.census(r.Context())
		if err != nil {
			return false, err.Error()
		}
		faults := c.faults(promised)
		return len(faults) == 0, strings.Join(faults, "\n")
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
