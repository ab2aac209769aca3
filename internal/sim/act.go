package sim

import (
	"context"
	"fmt"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/controlplane"
	"shoal/internal/store"
)

// act has one thing happen.
func (w *world) act() {
	switch n := w.rand.IntN(20); {
	case n < 12:
		w.request()
	default:
		w.trouble()
	}
}

// request has a client ask for something.
func (w *world) request() {
	c, r := w.client, w.rand
	switch r.IntN(20) {
	case 16, 17, 18:
		w.client.role(w.some())
	case 19:
		w.client.rotateRoot()
	case 0, 1, 2:
		c.create()
	case 3, 4, 5:
		image := c.image(true)
		c.update(func(s *swarm.ServiceSpec) {
			if s.Mode.ReplicatedJob == nil && s.Mode.GlobalJob == nil {
				s.TaskTemplate.ContainerSpec.Image = image
			}
		})
	case 6:
		c.update(func(s *swarm.ServiceSpec) { s.TaskTemplate.ForceUpdate++ })
	case 7:
		n := uint64(r.IntN(8))
		c.update(func(s *swarm.ServiceSpec) {
			if s.Mode.Replicated != nil {
				s.Mode.Replicated = &swarm.ReplicatedService{Replicas: &n}
			}
		})
	case 8:
		c.update(func(s *swarm.ServiceSpec) {
			if s.UpdateConfig != nil {
				s.UpdateConfig = c.updateConfig(s.UpdateConfig.Order)
			}
		})
	case 9:
		if s := c.service(); s != nil && s.Spec.Mode.ReplicatedJob == nil && s.Spec.Mode.GlobalJob == nil {
			c.put(s, nil, "previous")
		}
	case 10:
		c.remove()
	case 11, 12:
		c.blob()
	case 13:
		c.attachable()
	default:
		to := []swarm.NodeAvailability{"active", "active", "pause", "drain"}[r.IntN(4)]
		zone := []string{"a", "b"}[r.IntN(2)]
		label := r.IntN(2) == 0
		c.node(w.some().id, func(n *swarm.NodeSpec) {
			if label {
				n.Labels["zone"] = zone
			} else {
				n.Availability = to
			}
		})
	}
}

// some is a machine of chance.
func (w *world) some() *host {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.hosts[w.rand.IntN(len(w.hosts))]
}

// trouble has something go wrong, for a while.
func (w *world) trouble() {
	h, r := w.some(), w.rand
	w.mu.Lock()
	if w.group.leader != "" && r.IntN(4) == 0 {
		h = w.host(w.group.leader)
	}
	w.mu.Unlock()
	length := time.Duration(r.Int64N(int64([]time.Duration{time.Second, 10 * time.Second, 40 * time.Second}[r.IntN(3)])))
	switch r.IntN(10) {
	case 0, 1:
		w.say("the daemon of %s is killed for %s", h.id, length)
		h.kill(false)
		w.later(length, h.back)
	case 2:
		w.say("%s loses its power for %s", h.id, length)
		h.kill(true)
		w.later(length, h.back)
	case 3, 4:
		w.say("%s is cut off for %s", h.id, length)
		w.cut(h, true, true)
		w.later(length, w.mend)
	case 5:
		in := r.IntN(2) == 0
		w.say("%s is cut off one way (in: %v) for %s", h.id, in, length)
		w.cut(h, in, !in)
		w.later(length, w.mend)
	case 6:
		other := w.some()
		w.say("%s and %s do not reach each other for %s", h.id, other.id, length)
		w.mu.Lock()
		w.net.cut(h.id, other.id)
		w.net.cut(other.id, h.id)
		w.mu.Unlock()
		w.later(length, w.mend)
	case 7:
		w.mu.Lock()
		if m := w.leader(); m != nil {
			w.note("%s hands the lead over", m.host.id)
			w.group.stepDown(m)
		}
		w.mu.Unlock()
	case 8:
		w.mu.Lock()
		h.skew.Store(r.Int64N(int64(2*maxSkew)) - int64(maxSkew))
		w.note("the clock of %s jumps: it is off by %s", h.id, h.ahead())
		for _, c := range h.engine.sorted() {
			if w.dice.one(3, "dies"+c.task.ID, 0) {
				h.engine.end(c, 139)
			}
		}
		w.mu.Unlock()
	case 9:
		w.replace(h)
	}
}

// replace removes a worker from the swarm and has another one join.
func (w *world) replace(h *host) {
	w.mu.Lock()
	if h.manages || h.left || store.Nodes.Get(w.view(), h.id) == nil {
		w.mu.Unlock()
		return
	}
	fresh := w.addHost(false)
	w.note("%s is removed from the swarm, %s joins", h.id, fresh.id)
	w.mu.Unlock()
	node := fresh.node()
	w.client.ask("join "+fresh.id, func(ctx context.Context, ctl *controlplane.Control) error {
		_, err := ctl.Store.Update(ctx, func(tx *store.Tx) error {
			store.Nodes.Put(tx, node)
			return nil
		})
		return err
	}, func(*manager) {
		if err := fresh.start(); err != nil {
			w.fail("start %s: %v", fresh.id, err)
		}
	})
	w.client.ask("remove node "+h.id, func(ctx context.Context, ctl *controlplane.Control) error {
		return ctl.RemoveNode(ctx, h.id, true)
	}, nil)
}

// back brings a machine and its daemon up.
func (h *host) back() {
	w := h.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if h.process != nil {
		return
	}
	w.note("%s is back", h.id)
	h.on = true
	if err := h.start(); err != nil {
		w.fail("start %s: %v", h.id, err)
	}
	w.net.change()
}

// cut keeps a machine from hearing, being heard, or both.
func (w *world) cut(h *host, in, out bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, other := range w.hosts {
		if in {
			w.net.cut(other.id, h.id)
		}
		if out {
			w.net.cut(h.id, other.id)
		}
	}
}

func (w *world) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note("the network heals")
	w.net.heal()
}

// later does f after a while, if the world still is in trouble then.
func (w *world) later(d time.Duration, f func()) {
	time.AfterFunc(d, func() {
		if w.ctx.Err() == nil {
			f()
		}
	})
}

func (w *world) say(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note("%s", fmt.Sprintf(format, args...))
}

// check looks at what holds between steps.
func (w *world) check() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rules.alike()
	return w.err
}
