package dispatch

import (
	"bytes"
	"reflect"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// errRemoved ends the session of a node that is no longer in the store.
var errRemoved = cluster.Errorf(errdefs.ErrPermissionDenied, "this node was removed from the swarm")

// held is what a session has told its node. It belongs to the session's sender.
type held struct {
	full     bool       // the node has had the full set
	view     store.View // the newest that it was told from: never an older one after it
	tasks    map[string]heldTask
	secrets  []*cluster.Secret
	configs  []*cluster.Config
	network  networkParts
	sent     uint64 // the index of the network state that the node was sent last
	deltas   bool   // the node takes changes of it
	managers *cell[[]swarm.Peer]
	root     []byte
	period   time.Duration
	node     *cluster.Node
}

type heldTask struct {
	task    *cluster.Task
	service *cluster.Service
}

// update returns the message that brings the node to w, nil when it is there, and the networks that the node is in. The
// message is everything the first time.
func (h *held) update(w *world, nodeID string) (*cluster.Down, []string, error) {
	defer w.turns.take()()
	node := store.Nodes.Get(w.view, nodeID)
	if node == nil {
		return nil, nil, errRemoved
	}
	h.view = w.view
	set := Assignments(w.view, nodeID)
	down := &cluster.Down{Full: !h.full, Index: w.index}
	h.updateTasks(w, set.Tasks, down)
	h.updateSecrets(set, down)
	parts := w.network(set.Networks)
	switch {
	case !h.full || !h.deltas && !parts.same(h.network):
		down.Network, h.sent = parts.state(w.index), w.index
	case !parts.same(h.network):
		if down.Change = parts.since(h.network, h.sent, w.index); down.Change != nil {
			h.sent = w.index
		}
	}
	h.network = parts
	if h.managers != w.managers {
		h.managers = w.managers
		down.Managers = w.managers.get()
	}
	if !bytes.Equal(h.root, w.root) {
		h.root, down.Root = w.root, w.root
	}
	if h.period != w.period {
		h.period, down.HeartbeatPeriod = w.period, w.period
	}
	if h.node == nil || !reflect.DeepEqual(h.node.Spec, node.Spec) {
		h.node, down.Node = node, node
	}
	h.full = true
	if down.Full || len(down.Tasks)+len(down.Gone) > 0 || down.SecretsSet || down.Network != nil || down.Change != nil ||
		down.Managers != nil || down.Root != nil || down.HeartbeatPeriod != 0 || down.Node != nil {
		return down, parts.ids, nil
	}
	return nil, parts.ids, nil
}

// newest is w with the newest view that the session may go by. The full set goes by the store itself: a world is some
// milliseconds behind, and a node that comes back at once would take a task that has run for one that is still to be
// started. What the parts of w lack of that view comes with the next world.
func (h *held) newest(w *world, s *store.Store) *world {
	view := h.view
	if !h.full {
		view = s.View()
	}
	if view.Index() <= w.view.Index() {
		return w
	}
	n := *w
	n.view = view
	return &n
}

func (h *held) updateTasks(w *world, tasks []*cluster.Task, down *cluster.Down) {
	now := make(map[string]heldTask, len(tasks))
	for _, t := range tasks {
		have := heldTask{t, store.Services.Get(w.view, t.ServiceID)}
		now[t.ID] = have
		if old, ok := h.tasks[t.ID]; ok && sameWork(old.task, t) && sameLabels(old.service, have.service) {
			continue
		}
		down.Tasks = append(down.Tasks, assignment(w.view, t, have.service))
	}
	for id := range h.tasks {
		if _, ok := now[id]; !ok {
			down.Gone = append(down.Gone, id)
		}
	}
	slices.Sort(down.Gone)
	h.tasks = now
}

func (h *held) updateSecrets(set Set, down *cluster.Down) {
	if h.full && slices.Equal(h.secrets, set.Secrets) && slices.Equal(h.configs, set.Configs) {
		return
	}
	h.secrets, h.configs = set.Secrets, set.Configs
	down.SecretsSet = true
	for _, s := range set.Secrets {
		down.Secrets = append(down.Secrets, *s)
	}
	for _, c := range set.Configs {
		down.Configs = append(down.Configs, *c)
	}
}

func sameLabels(a, b *cluster.Service) bool {
	if a == b || a == nil || b == nil {
		return a == b
	}
	return reflect.DeepEqual(a.Spec.Labels, b.Spec.Labels)
}
