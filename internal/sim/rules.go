package sim

import (
	"context"
	"fmt"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// rules watches what must hold at every moment. It sees every transaction once, in order, as the first manager that
// applies it shows it.
type rules struct {
	w *world

	index  uint64 // of the newest transaction that was looked at
	nodes  map[string]*cluster.Node
	owners map[string]string          // address or port: who has it
	needs  map[string]map[string]bool // node ID: the secrets that these need
	fell   map[string]bool            // task ID: its node was out of reach for a while since the task was made
	double map[string]bool            // service ID: two tasks of a slot may run for a while
	acked  map[string]string          // ID of what a client was told to be stored: its table
	each   func(store.Event)          // hears of every transaction; may be nil
}

func newRules(w *world) *rules {
	return &rules{
		w: w, nodes: map[string]*cluster.Node{}, owners: map[string]string{},
		needs: map[string]map[string]bool{},
		fell:  map[string]bool{}, double: map[string]bool{}, acked: map[string]string{},
	}
}

// applied looks at the transactions that are new with s. w.mu is held, as in all that follows.
func (r *rules) applied(s *store.Store) {
	v := s.View()
	if v.Index() <= r.index {
		return
	}
	for ev, err := range s.Watch(context.Background(), r.index) {
		if err != nil {
			r.w.fail("transaction %d is not in the history of the store that applied it: %v", r.index+1, err)
			return
		}
		r.transaction(v, ev)
		r.index = ev.Index
		if ev.Index == v.Index() {
			return
		}
	}
}

func (r *rules) transaction(v store.View, ev store.Event) {
	if ev.Index != r.index+1 {
		r.w.fail("transaction %d follows %d", ev.Index, r.index)
	}
	for _, c := range ev.Changes { // what is given back may be taken again at once
		r.release(c.Old)
	}
	for _, c := range ev.Changes {
		switch table := c.Table; table {
		case store.Nodes.Name():
			r.node(v, as[cluster.Node](c.Old), as[cluster.Node](c.New))
		case store.Services.Name():
			r.service(as[cluster.Service](c.New))
		}
		r.claim(c.New)
	}
	for _, c := range ev.Changes {
		if c.Table == store.Tasks.Name() {
			r.task(v, ev.Index, as[cluster.Task](c.Old), as[cluster.Task](c.New))
		}
	}
	r.rollouts(v, ev)
	if r.each != nil {
		r.each(ev)
	}
	if r.w.story {
		r.tell(ev)
	}
}

func (r *rules) node(v store.View, old, now *cluster.Node) {
	if now == nil {
		delete(r.nodes, old.ID)
	} else {
		r.nodes[now.ID] = now
	}
	if now != nil && now.Status.State != swarm.NodeStateDown {
		return
	}
	id := old.ID
	if now != nil {
		id = now.ID
	}
	for t := range store.Tasks.By(v, store.TaskNode, id) {
		r.fell[t.ID] = true
	}
	for _, h := range r.w.hosts { // the store may have forgotten what still runs
		if h.id == id {
			for task := range h.engine.containers {
				r.fell[task] = true
			}
		}
	}
}

func (r *rules) service(now *cluster.Service) {
	if now == nil {
		return
	}
	for _, c := range []*swarm.UpdateConfig{now.Spec.UpdateConfig, now.Spec.RollbackConfig} {
		if c != nil && c.Order == swarm.UpdateOrderStartFirst {
			r.double[now.ID] = true
		}
	}
}

// task holds that a task only goes forward, and to a node that may take it.
func (r *rules) task(v store.View, index uint64, old, now *cluster.Task) {
	if now == nil {
		return
	}
	if old == nil {
		old = &cluster.Task{ID: now.ID, SpecID: now.SpecID, Slot: now.Slot, NodeID: now.NodeID, ServiceID: now.ServiceID}
	}
	if cluster.Rank(now.Status.State) < cluster.Rank(old.Status.State) {
		r.w.fail("task %s goes from %s back to %s at %d", now.ID, old.Status.State, now.Status.State, index)
	}
	if cluster.Rank(now.DesiredState) < cluster.Rank(old.DesiredState) && cluster.Rank(old.DesiredState) > cluster.Rank(swarm.TaskStateComplete) {
		r.w.fail("task %s is wanted %s after %s", now.ID, now.DesiredState, old.DesiredState)
	}
	if old.NodeID != "" && old.NodeID != now.NodeID || old.Slot != now.Slot || old.SpecID != now.SpecID || old.ServiceID != now.ServiceID {
		r.w.fail("task %s moved: %+v, now %+v", now.ID, old, now)
	}
	assigned := cluster.Rank(swarm.TaskStateAssigned)
	if cluster.Rank(old.Status.State) >= assigned || cluster.Rank(now.Status.State) < assigned || cluster.Terminal(now.Status.State) {
		return
	}
	n := r.nodes[now.NodeID]
	if n == nil || n.Status.State != swarm.NodeStateReady || n.Spec.Availability != swarm.NodeAvailabilityActive {
		r.w.fail("task %s is given to node %q, which takes none", now.ID, now.NodeID)
	}
	if spec := store.Specs.Get(v, now.SpecID); spec != nil && spec.Task.ContainerSpec != nil {
		for _, ref := range spec.Task.ContainerSpec.Secrets {
			mark(r.needs, now.NodeID, ref.SecretID)
		}
	}
}

func mark(m map[string]map[string]bool, a, b string) {
	if m[a] == nil {
		m[a] = map[string]bool{}
	}
	m[a][b] = true
}

// told holds that a node gets no secret that none of its tasks has ever needed.
func (r *rules) told(node string, down *cluster.Down) {
	for i := range down.Secrets {
		if !r.needs[node][down.Secrets[i].ID] {
			r.w.fail("node %s is sent secret %s, which no task of it needs", node, down.Secrets[i].Spec.Name)
		}
	}
}

// prepared holds that a task comes to its own node, with the secrets that it names.
func (r *rules) prepared(h *host, a cluster.Assignment, secrets cluster.Secrets) {
	if a.Task.NodeID != h.id {
		r.w.fail("task %s of node %s is made on %s", a.Task.ID, a.Task.NodeID, h.id)
	}
	if a.Spec.ContainerSpec == nil {
		r.w.fail("task %s comes to %s without a spec", a.Task.ID, h.id)
		return
	}
	for _, ref := range a.Spec.ContainerSpec.Secrets {
		found := false
		for i := range secrets.Secrets {
			found = found || secrets.Secrets[i].ID == ref.SecretID
		}
		if !found {
			r.w.fail("task %s is made on %s without its secret %s", a.Task.ID, h.id, ref.SecretName)
		}
	}
}

// started holds that a slot runs once, twice at most while the service's order of updates asks for it. A container whose
// node was out of reach is beyond any rule until the node has heard.
func (r *rules) started(h *host, c *container) {
	if c.starts > 1 {
		r.w.fail("the container of task %s is started %d times", c.task.ID, c.starts)
	}
	if r.fell[c.task.ID] {
		return
	}
	var beside []string
	for _, other := range r.w.hosts {
		for _, o := range other.engine.sorted() {
			same := o.task.ServiceID == c.task.ServiceID && o.task.Slot == c.task.Slot && (c.task.Slot != 0 || other == h)
			if same && o != c && o.state == swarm.TaskStateRunning && !r.fell[o.task.ID] {
				beside = append(beside, fmt.Sprintf("%s on %s", o.task.ID, other.id))
			}
		}
	}
	most := 0
	if r.double[c.task.ServiceID] {
		most = 1
	}
	if len(beside) > most {
		r.w.fail("%s (task %s) runs on %s beside %v", c.task.Name(), c.task.ID, h.id, beside)
	}
}

func as[T any](o any) *T {
	p, _ := o.(*T)
	return p
}
