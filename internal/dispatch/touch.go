package dispatch

import (
	"reflect"
	"slices"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// touched notes what transactions change for nodes: the only place that knows which part of the store goes where.
type touched struct {
	changes
	meshed map[string]bool // services with a port in the mesh
}

func newTouched() *touched {
	return &touched{meshed: map[string]bool{}}
}

// restart forgets everything and begins with a view.
func (t *touched) restart(r store.Reader) {
	t.changes = changes{all: true}
	clear(t.meshed)
	for s := range store.Services.All(r) {
		if published(s) {
			t.meshed[s.ID] = true
		}
	}
}

// published are the services with a port in the mesh, sorted.
func (t *touched) published() []string {
	ids := make([]string, 0, len(t.meshed))
	for id := range t.meshed {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func (t *touched) event(r store.Reader, e store.Event) {
	for _, c := range e.Changes {
		switch c.Table {
		case store.Tasks.Name():
			t.task(as[cluster.Task](c.Old), as[cluster.Task](c.New))
		case store.Services.Name():
			t.service(r, as[cluster.Service](c.Old), as[cluster.Service](c.New))
		case store.Nodes.Name():
			t.node(r, as[cluster.Node](c.Old), as[cluster.Node](c.New))
		case store.Networks.Name():
			if n := either(as[cluster.Network](c.Old), as[cluster.Network](c.New)); n != nil {
				t.network(n.ID)
			}
		case store.Clusters.Name():
			t.cluster = true
		case store.Secrets.Name(), store.Configs.Name():
			// A new one is named by no task yet, so only a change of one that is there can concern a node.
			t.everyone = t.everyone || (c.Old != nil && c.New != nil)
		}
	}
}

func (t *touched) task(old, now *cluster.Task) {
	if old == nil || now == nil || !sameWork(old, now) || present(old) != present(now) ||
		cluster.Rank(old.Status.State) < cluster.Rank("assigned") {
		t.set(old)
		t.set(now)
	}
	if old != nil && now != nil && present(old) == present(now) && live(old) == live(now) && old.NodeID == now.NodeID &&
		slices.EqualFunc(old.Attachments, now.Attachments, sameAttachment) {
		return
	}
	for _, task := range []*cluster.Task{old, now} {
		if task != nil && task.NodeID != "" {
			t.endpoint(task)
		}
	}
}

func (t *touched) service(r store.Reader, old, now *cluster.Service) {
	s := either(old, now)
	if published(now) {
		t.meshed[s.ID] = true
	} else {
		delete(t.meshed, s.ID)
	}
	if old != nil && now != nil && !reflect.DeepEqual(old.Spec.Labels, now.Spec.Labels) {
		for task := range store.Tasks.By(r, store.TaskService, s.ID) {
			t.set(task)
		}
		t.ports = t.ports || published(now) // a label may say on which addresses
	}
	if old != nil && now != nil && old.Spec.Name == now.Spec.Name && reflect.DeepEqual(old.Endpoint, now.Endpoint) &&
		reflect.DeepEqual(old.Spec.TaskTemplate.Networks, now.Spec.TaskTemplate.Networks) {
		return
	}
	t.ports = t.ports || published(old) || published(now)
	for _, service := range []*cluster.Service{old, now} {
		if service == nil {
			continue
		}
		for _, n := range service.Spec.TaskTemplate.Networks {
			t.network(n.Target)
		}
		for _, v := range service.Endpoint.VirtualIPs {
			t.network(v.NetworkID)
		}
	}
}

func (t *touched) node(r store.Reader, old, now *cluster.Node) {
	if down(old) != down(now) {
		for task := range store.Tasks.By(r, store.TaskNode, either(old, now).ID) {
			t.endpoint(task)
		}
		t.ports = t.ports || len(t.meshed) > 0
	}
	if old == nil || now == nil || old.DataAddr != now.DataAddr || old.Number != now.Number {
		t.nodes = true
	}
	t.keyed(old, now)
	if old == nil || now == nil || old.Spec.Role != now.Spec.Role || !reflect.DeepEqual(old.ManagerStatus, now.ManagerStatus) {
		t.managers = true
	}
	if old == nil || now == nil || !reflect.DeepEqual(old.Spec, now.Spec) {
		t.owner(either(old, now).ID)
	}
}

func (t *touched) set(task *cluster.Task) {
	if task != nil && task.NodeID != "" {
		t.owner(task.NodeID)
	}
}

func (t *touched) owner(nodeID string) {
	if t.sets == nil {
		t.sets = map[string]bool{}
	}
	t.sets[nodeID] = true
}

// down says whether a node is known to be down.
func down(n *cluster.Node) bool { return n != nil && n.Status.State == swarm.NodeStateDown }

// network says that anything of a network may have changed.
func (t *touched) network(id string) {
	if t.networks == nil {
		t.networks = map[string]bool{}
	}
	t.networks[id] = true
}

// endpoint says that a task may be another in its networks, or in them no longer.
func (t *touched) endpoint(task *cluster.Task) {
	for _, a := range task.Attachments {
		if len(a.Addresses) == 0 {
			continue
		}
		if t.endpoints == nil {
			t.endpoints = map[string]map[string]string{}
		}
		if t.endpoints[a.NetworkID] == nil {
			t.endpoints[a.NetworkID] = map[string]string{}
		}
		t.endpoints[a.NetworkID][task.ID] = task.ServiceID
	}
}

// take returns what was noted and begins anew.
func (t *touched) take() changes {
	c := t.changes
	t.changes = changes{}
	return c
}

func as[T any](o any) *T {
	p, _ := o.(*T)
	return p
}

func either[T any](a, b *T) *T {
	if b != nil {
		return b
	}
	return a
}
