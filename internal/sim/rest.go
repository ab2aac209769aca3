package sim

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/controlplane"
	"shoal/internal/reconcile"
	"shoal/internal/store"
)

// Bounds of the way to rest.
const (
	restTime  = 20 * time.Minute // it may take so long
	quietTime = 20 * time.Second // and must stay so
	calmTime  = 3 * time.Second  // without news the swarm counts as at rest
	// spreadTime is the same where services are spread again, which waits until none of their tasks has failed for five minutes.
	spreadTime = 7 * time.Minute
)

// rest heals everything and holds that the swarm comes to be as its services ask, and stays so.
func (w *world) rest() {
	w.heal()
	if w.fault() != nil {
		return
	}
	began, calm := time.Now(), calmTime
	if w.rebalances {
		calm = spreadTime
	}
	w.amend()
	for since, at := time.Now(), uint64(0); ; {
		why, index := w.unrest()
		if w.fault() != nil {
			return
		}
		if why != "" || index != at {
			since, at = time.Now(), index
		}
		if time.Since(since) > calm {
			break
		}
		if time.Since(began) > restTime {
			w.mu.Lock()
			w.fail("no rest after %s: %s", restTime, why)
			w.mu.Unlock()
			return
		}
		w.wait(time.Second)
	}
	w.mu.Lock()
	index, renewed := w.rules.index, w.renewed
	w.note("at rest at index %d", index)
	w.mu.Unlock()
	w.wait(quietTime)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.rules.index != index && w.renewed == renewed { // a certificate's time may come

		w.fail("%d transactions were written while nothing was to do", w.rules.index-index)
	}
	w.rules.alike()
	w.rules.identical()
	w.spread()
}

// spread holds that what wants to be spread is.
func (w *world) spread() {
	v := w.view()
	for s := range store.Services.All(v) {
		if !reconcile.Rebalances(s) || !w.rebalances {
			continue
		}
		on := map[string]int{}
		for n := range store.Nodes.All(v) {
			on[n.ID] = 0
		}
		for t := range store.Tasks.By(v, store.TaskService, s.ID) {
			if t.Status.State == swarm.TaskStateRunning {
				on[t.NodeID]++
			}
		}
		counts := slices.Sorted(maps.Values(on))
		if counts[len(counts)-1]-counts[0] > 1 {
			w.fail("%s wants to be spread, and its tasks are on %v", s.Spec.Name, on)
		}
	}
}

// heal ends all trouble.
func (w *world) heal() {
	w.mu.Lock()
	w.note("everything heals")
	w.calm = true
	w.net.heal()
	hosts := w.hosts
	w.mu.Unlock()
	for _, h := range hosts {
		h.back()
	}
	for began := time.Now(); w.fault() == nil; w.wait(time.Second) {
		w.mu.Lock()
		m := w.leader()
		ready := m != nil && m.leading
		if !ready && time.Since(began) > restTime {
			w.fail("no leader %s after everything has healed", restTime)
		}
		w.mu.Unlock()
		if ready {
			return
		}
	}
}

// amend has every node active, every machine that the store does not know stopped, and every service at a spec that
// works.
func (w *world) amend() {
	w.wait(10 * time.Second) // what clients still wait for is over
	w.mu.Lock()
	hosts := w.hosts
	w.mu.Unlock()
	for _, h := range hosts {
		if h.lost() {
			// It may have been made a manager while it was away, which the store says and nobody could tell it.
			w.client.node(h.id, func(s *swarm.NodeSpec) { s.Role = swarm.NodeRoleWorker })
			w.wait(10 * time.Second)
			w.client.ask("remove node "+h.id+", which knows no manager any more", func(ctx context.Context, ctl *controlplane.Control) error {
				return ctl.RemoveNode(ctx, h.id, true)
			}, nil)
			w.wait(10 * time.Second)
		}
	}
	w.mu.Lock()
	m := w.leader()
	if m == nil {
		w.fail("nobody leads although nothing is in the way")
		w.mu.Unlock()
		return
	}
	v := m.store.View()
	var gone []*host
	for _, h := range w.hosts {
		if store.Nodes.Get(v, h.id) == nil {
			h.left = true
			gone = append(gone, h)
		}
	}
	w.mu.Unlock()
	for _, h := range gone {
		h.kill(true)
	}
	for n := range store.Nodes.All(v) {
		w.client.node(n.ID, func(s *swarm.NodeSpec) { s.Availability = swarm.NodeAvailabilityActive })
		w.wait(100 * time.Millisecond)
	}
	for range 10 { // an automatic rollback, or the leader's own writes, may come between
		if !w.amendServices() {
			return
		}
		w.wait(10 * time.Second)
	}
}

// lost says whether every manager that a machine has ever heard of is none any more: it was cut off while they were replaced, and
// only joining again can help.
func (h *host) lost() bool {
	w := h.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if h.process == nil || h.manages {
		return false
	}
	known := h.process.known
	for _, peer := range h.process.agent.State().Managers {
		known = append(slices.Clip(known), peer.Addr)
	}
	return !slices.ContainsFunc(known, func(addr string) bool {
		other := w.host(hostOf(addr))
		return other != nil && other.manages && !other.left
	})
}

// amendServices asks for good specs where there are none yet, and says whether there were any.
func (w *world) amendServices() (some bool) {
	w.mu.Lock()
	v := w.view()
	w.mu.Unlock()
	for s := range store.Services.All(v) {
		if s.Spec.Labels["amended"] != "" {
			continue
		}
		some = true
		service := s.Service
		w.client.put(&service, func(spec *swarm.ServiceSpec) {
			if !isJob(&spec.Mode) {
				spec.TaskTemplate.ContainerSpec.Image = "app:good"
			}
			spec.TaskTemplate.Placement, spec.EndpointSpec = nil, nil // host ports may not suffice for all replicas
			spec.TaskTemplate.ForceUpdate++
			labels := map[string]string{"amended": "yes"}
			maps.Copy(labels, spec.Labels)
			spec.Labels = labels
		}, "")
		w.wait(time.Second)
	}
	return some
}

func isJob(m *swarm.ServiceMode) bool { return m.ReplicatedJob != nil || m.GlobalJob != nil }

// unrest says what is not as it should be at which index; empty: all is.
func (w *world) unrest() (string, uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v := w.view()
	return w.unrestIn(v), v.Index()
}

func (w *world) unrestIn(v store.View) string {
	for _, h := range w.hosts {
		if m := h.manager; m != nil && m.store.Index() != v.Index() {
			return fmt.Sprintf("%s is at index %d of %d", h.id, m.store.Index(), v.Index())
		}
	}
	for n := range store.Nodes.All(v) {
		if n.Status.State != swarm.NodeStateReady {
			return fmt.Sprintf("node %s is %s", n.ID, n.Status.State)
		}
	}
	for s := range store.Services.All(v) {
		if why := serviceUnrest(v, s); why != "" {
			return fmt.Sprintf("service %s: %s", s.Spec.Name, why)
		}
	}
	for t := range store.Tasks.All(v) {
		if store.Services.Get(v, t.ServiceID) == nil {
			return fmt.Sprintf("task %s is left of a removed service: %s, wanted %s", t.ID, t.Status.State, t.DesiredState)
		}
	}
	if c := store.ClusterOf(v); c != nil && c.Root.Next != nil {
		return "the rotation of the root is not over"
	}
	for _, h := range w.hosts {
		why := h.unrest(v)
		if n := store.Nodes.Get(v, h.id); why == "" && n != nil {
			why = h.roleUnrest(n)
		}
		if why != "" {
			return h.id + ": " + why
		}
	}
	return ""
}

// roleUnrest says where a machine, its certificate and the group are not of one mind about its role.
func (h *host) roleUnrest(n *cluster.Node) string {
	manages, votes := n.Spec.Role == swarm.NodeRoleManager, h.w.group.members[h.id]
	if h.manages != manages || votes != manages || (h.manager != nil) != manages {
		return fmt.Sprintf("it is to be a %s; its certificate says manager: %v, it votes: %v, a manager runs: %v", n.Spec.Role, h.manages, votes, h.manager != nil)
	}
	return ""
}

// serviceUnrest says what a service lacks.
func serviceUnrest(v store.View, s *cluster.Service) string {
	running, complete := map[string]int{}, map[string]bool{}
	for t := range store.Tasks.By(v, store.TaskService, s.ID) {
		slot := fmt.Sprint(t.Slot)
		if t.Slot == 0 {
			slot = t.NodeID
		}
		complete[slot] = complete[slot] || t.Status.State == swarm.TaskStateComplete && t.LeftAt.IsZero() &&
			s.JobStatus != nil && t.JobIteration == s.JobStatus.JobIteration.Index
		if cluster.Terminal(t.Status.State) {
			continue
		}
		running[slot]++
		if t.Status.State != swarm.TaskStateRunning || t.SpecID != s.SpecID || running[slot] > 1 {
			return fmt.Sprintf("task %s of slot %s is %s (%s), wanted %s, on %s", t.ID, slot, t.Status.State, t.Status.Err, t.DesiredState, t.NodeID)
		}
	}
	done := 0
	for _, c := range complete {
		if c {
			done++
		}
	}
	want, have := store.Nodes.Len(v), len(running)
	switch mode := s.Spec.Mode; {
	case mode.Replicated != nil:
		want = int(*mode.Replicated.Replicas)
	case mode.ReplicatedJob != nil:
		want, have = int(*mode.ReplicatedJob.TotalCompletions), done
	case mode.GlobalJob != nil:
		have = done
	}
	if have != want {
		return fmt.Sprintf("%d of %d", have, want)
	}
	if u := s.UpdateStatus; u != nil && u.State != swarm.UpdateStateCompleted && u.State != swarm.UpdateStateRollbackCompleted {
		return fmt.Sprintf("its update is %s: %s", u.State, u.Message)
	}
	return ""
}

// unrest says what a machine has that it should not, or lacks.
func (h *host) unrest(v store.View) string {
	for _, c := range h.engine.sorted() {
		t := store.Tasks.Get(v, c.task.ID)
		switch {
		case h.left:
		case t == nil:
			return "container of task " + c.task.ID + " is left over"
		case c.state == swarm.TaskStateRunning && t.Status.State != swarm.TaskStateRunning:
			return fmt.Sprintf("container of task %s runs; the store says %s", t.ID, t.Status.State)
		}
	}
	for t := range store.Tasks.By(v, store.TaskNode, h.id) {
		if c := h.engine.containers[t.ID]; t.Status.State == swarm.TaskStateRunning && (c == nil || c.state != swarm.TaskStateRunning) {
			return fmt.Sprintf("task %s is said to run and does not", t.ID)
		}
	}
	return ""
}
