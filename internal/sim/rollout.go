package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing/synctest"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/controlplane"
	"shoal/internal/store"
)

// Rollout is one update of a service, and the rollback of it, in a swarm where nothing else goes wrong than that the
// leader is killed once.
type Rollout struct {
	Seed        uint64
	Order       swarm.UpdateOrder
	Parallelism uint64
	// KillAfter is how many transactions of the rollout are committed when the leader is killed; below 0: it never is.
	KillAfter int
	Story     bool
}

// rolloutReplicas are the service's slots.
const rolloutReplicas = 4

// rollout is a Rollout under way.
type rollout struct {
	Rollout
	w      *world
	id     string
	counts bool
	made   map[string]int // slot and spec: how many tasks were made for it
	steps  int            // transactions since it counts
}

// Run updates the service and takes the update back, and holds that each slot was given each spec exactly once. It
// returns how many transactions that took. Call it inside a bubble, as the package's Run.
func (r Rollout) Run() (steps int, story []string, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	w := &world{dice: dice(mix(r.Seed + 1)), rand: rand.New(rand.NewPCG(r.Seed, 1)), began: time.Now(), story: r.Story, ctx: ctx, calm: true}
	w.net = newWires()
	w.authority.open(w)
	w.group = newGroup(w)
	w.rules = newRules(w)
	w.client = newClient(w)
	one := &rollout{Rollout: r, w: w, made: map[string]int{}}
	w.rules.each = one.transaction
	w.mu.Lock()
	for i := range 6 {
		w.addHost(i < 3).skew.Store(0)
	}
	w.mu.Unlock()
	w.start()
	one.run()
	cancel()
	w.end()
	synctest.Wait()
	return one.steps, w.lines, w.err
}

func (r *rollout) run() {
	r.ask(func(ctx context.Context, c *controlplane.Control) error {
		n, delay := uint64(rolloutReplicas), time.Duration(0)
		spec := swarm.ServiceSpec{Mode: swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &n}}}
		spec.Name = "web"
		spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{Image: "app:v1"}
		spec.TaskTemplate.Placement = &swarm.Placement{Constraints: []string{"node.role == worker"}}
		spec.TaskTemplate.RestartPolicy = &swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionAny, Delay: &delay}
		spec.UpdateConfig = &swarm.UpdateConfig{Parallelism: r.Parallelism, Order: r.Order, Delay: time.Second, Monitor: time.Second}
		spec.RollbackConfig = spec.UpdateConfig
		resp, err := c.CreateService(ctx, spec, "")
		r.id = resp.ID
		return err
	})
	r.settle("")
	r.w.mu.Lock()
	r.counts = true
	r.w.mu.Unlock()
	for _, back := range []string{"", "previous"} {
		r.ask(func(ctx context.Context, c *controlplane.Control) error {
			s, err := c.Service(r.id, false)
			if err != nil || s.Spec.TaskTemplate.ContainerSpec.Image == "app:v2" && back == "" {
				return err // it is done: the answer did not come
			}
			if u := s.UpdateStatus; back != "" && u != nil && (u.State == swarm.UpdateStateRollbackStarted || u.State == swarm.UpdateStateRollbackCompleted) {
				return nil
			}
			spec := s.Spec
			spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{Image: "app:v2"}
			_, err = c.UpdateService(ctx, r.id, spec, controlplane.ServiceUpdate{Version: s.Version.Index, Rollback: back})
			return err
		})
		r.settle(back)
		r.check()
	}
}

// ask asks the leader until it says yes.
func (r *rollout) ask(f func(context.Context, *controlplane.Control) error) {
	for done := false; !done && r.w.fault() == nil; r.w.wait(patience) {
		r.w.client.ask("ask", f, func(*manager) { done = true })
		r.w.wait(patience)
	}
}

// settle waits until the service is as its spec says.
func (r *rollout) settle(back string) {
	for range 300 {
		r.w.wait(time.Second)
		if why, _ := r.w.unrest(); why == "" || r.w.fault() != nil {
			return
		}
	}
	why, _ := r.w.unrest()
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	r.w.fail("the service does not come to rest (rollback %q): %s", back, why)
}

// check holds that every slot was given the spec once.
func (r *rollout) check() {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	s := store.Services.Get(r.w.view(), r.id)
	for slot := 1; slot <= rolloutReplicas && s != nil; slot++ {
		if n := r.made[fmt.Sprint(slot, s.SpecID)]; n != 1 {
			r.w.fail("slot %d was given %s %d times", slot, s.Spec.TaskTemplate.ContainerSpec.Image, n)
		}
	}
}

// transaction counts tasks and steps, and has the leader killed in its time.
func (r *rollout) transaction(ev store.Event) {
	if !r.counts {
		return
	}
	for _, c := range ev.Changes {
		if t := as[cluster.Task](c.New); t != nil && c.Old == nil {
			r.made[fmt.Sprint(t.Slot, t.SpecID)]++
		}
	}
	if r.steps++; r.steps-1 != r.KillAfter {
		return
	}
	h := r.w.host(r.w.group.leader)
	r.w.note("the daemon of %s, which leads, is killed", h.id)
	time.AfterFunc(1, func() {
		h.kill(false)
		r.w.later(3*time.Second, h.back)
	})
}
