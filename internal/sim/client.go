package sim

import (
	"context"
	"fmt"
	"time"

	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/controlplane"
	"shoal/internal/reconcile"
	"shoal/internal/store"
)

// client is who asks for things, through any manager, and remembers what it was told.
type client struct {
	w       *world
	asked   uint64
	names   int
	secrets []*swarm.SecretReference // that it may use
	network string                   // that it may use; empty: none
}

func newClient(w *world) *client { return &client{w: w} }

// patience is how long a client waits for an answer.
const patience = 5 * time.Second

// ask has f done by the leader, if one can be reached, and waits for nothing. done runs with the world held when the
// answer is a yes that arrived.
func (c *client) ask(what string, f func(context.Context, *controlplane.Control) error, done func(*manager)) {
	w := c.w
	c.asked++
	k := c.asked
	go func() {
		ctx, cancel := context.WithTimeout(w.ctx, patience)
		defer cancel()
		if pause(ctx, w.dice.delay(tripQuick, tripSlow, "ask", k)) != nil {
			return
		}
		w.mu.Lock()
		m := w.leader()
		if m == nil || !m.leading {
			w.note("%s: no leader", what)
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
		err := f(ctx, m.control)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.note("%s: %v", what, err)
		if err == nil && !m.dead && w.ctx.Err() == nil && done != nil {
			done(m)
		}
	}()
}

// newest is a service of chance, as a client lists it; nil: there is none.
func (c *client) service() *swarm.Service {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	v := c.w.view()
	n := store.Services.Len(v)
	if n == 0 {
		return nil
	}
	chosen := c.w.rand.IntN(n)
	for s := range store.Services.All(v) {
		if chosen--; chosen < 0 {
			out := s.Service
			return &out
		}
	}
	return nil
}

// create asks for a service.
func (c *client) create() {
	r := c.w.rand
	c.names++
	spec := swarm.ServiceSpec{}
	spec.Name = fmt.Sprintf("s%d", c.names)
	spec.Labels = map[string]string{}
	spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{Image: c.image(false)}
	c.mode(&spec)
	c.policies(&spec)
	if len(c.secrets) > 0 && r.IntN(3) == 0 {
		spec.TaskTemplate.ContainerSpec.Secrets = []*swarm.SecretReference{c.secrets[r.IntN(len(c.secrets))]}
	}
	if c.network != "" && r.IntN(2) == 0 {
		spec.TaskTemplate.Networks = []swarm.NetworkAttachmentConfig{{Target: c.network}}
	}
	if r.IntN(4) == 0 {
		spec.TaskTemplate.Placement = &swarm.Placement{Constraints: []string{"node.labels.zone != b"}}
	}
	if r.IntN(4) == 0 {
		spec.TaskTemplate.ContainerSpec.Mounts = []mount.Mount{{Type: mount.TypeVolume, Source: "data", Target: "/data"}}
	}
	if job := spec.Mode.ReplicatedJob != nil || spec.Mode.GlobalJob != nil; !job && r.IntN(2) == 0 {
		port := swarm.PortConfig{Protocol: network.TCP, TargetPort: 80, PublishMode: swarm.PortConfigPublishModeIngress}
		if r.IntN(4) == 0 {
			port.PublishMode, port.PublishedPort = swarm.PortConfigPublishModeHost, uint32(8000+r.IntN(2))
		} else if r.IntN(2) == 0 {
			port.PublishedPort = uint32(9000 + r.IntN(4))
		}
		spec.EndpointSpec = &swarm.EndpointSpec{Ports: []swarm.PortConfig{port}}
	}
	id := ""
	c.ask("create service "+spec.Name, func(ctx context.Context, ctl *controlplane.Control) error {
		resp, err := ctl.CreateService(ctx, spec, "")
		id = resp.ID
		return err
	}, func(m *manager) { c.w.rules.written(m, store.Services.Name(), id) })
}

func (c *client) image(update bool) string {
	kinds := []string{"app", "app", "app", "app", "app", "slow"}
	if update {
		kinds = append(kinds, "bad", "unfit", "sick")
	}
	return fmt.Sprintf("%s:v%d", kinds[c.w.rand.IntN(len(kinds))], c.w.rand.IntN(4))
}

func (c *client) mode(spec *swarm.ServiceSpec) {
	r := c.w.rand
	n := uint64(r.IntN(6))
	switch r.IntN(10) {
	case 0, 1:
		spec.Mode.Global = &swarm.GlobalService{}
	case 2:
		one := uint64(1 + r.IntN(3))
		spec.Mode.ReplicatedJob = &swarm.ReplicatedJob{MaxConcurrent: &one, TotalCompletions: &n}
		spec.TaskTemplate.ContainerSpec.Image = "job:v1"
	case 3:
		spec.Mode.GlobalJob = &swarm.GlobalJob{}
		spec.TaskTemplate.ContainerSpec.Image = "job:v1"
	default:
		spec.Mode.Replicated = &swarm.ReplicatedService{Replicas: &n}
	}
}

func (c *client) policies(spec *swarm.ServiceSpec) {
	r := c.w.rand
	delay := []time.Duration{0, time.Second, 3 * time.Second}[r.IntN(3)]
	spec.TaskTemplate.RestartPolicy = &swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionAny, Delay: &delay}
	if spec.Mode.ReplicatedJob != nil || spec.Mode.GlobalJob != nil {
		spec.TaskTemplate.RestartPolicy.Condition = swarm.RestartPolicyConditionOnFailure
		return
	}
	spec.UpdateConfig = c.updateConfig(swarm.UpdateOrderStopFirst)
	spec.RollbackConfig = c.updateConfig(swarm.UpdateOrderStopFirst)
	if r.IntN(3) == 0 {
		spec.UpdateConfig.Order, spec.RollbackConfig.Order = swarm.UpdateOrderStartFirst, swarm.UpdateOrderStartFirst
	}
	spec.RollbackConfig.FailureAction = []swarm.FailureAction{"pause", "continue"}[r.IntN(2)]
	if r.IntN(3) == 0 {
		spec.Labels["shoal.drain"] = "0s"
	}
	if c.w.rebalances && r.IntN(2) == 0 {
		spec.Labels[reconcile.RebalanceLabel] = "true"
	}
}

func (c *client) updateConfig(order swarm.UpdateOrder) *swarm.UpdateConfig {
	r := c.w.rand
	return &swarm.UpdateConfig{
		Parallelism: uint64(r.IntN(3)), Delay: []time.Duration{0, 2 * time.Second}[r.IntN(2)], Monitor: 2 * time.Second, Order: order,
		FailureAction: []swarm.FailureAction{"pause", "continue", "rollback"}[r.IntN(3)], MaxFailureRatio: []float32{0, 0.5}[r.IntN(2)],
	}
}

// update asks for another spec of a service.
func (c *client) update(change func(*swarm.ServiceSpec)) {
	s := c.service()
	if s == nil {
		return
	}
	c.put(s, change, "")
}

func (c *client) put(s *swarm.Service, change func(*swarm.ServiceSpec), rollback string) {
	spec := s.Spec
	container := *spec.TaskTemplate.ContainerSpec
	spec.TaskTemplate.ContainerSpec = &container
	if change != nil {
		change(&spec)
	}
	how := controlplane.ServiceUpdate{Version: s.Version.Index, Rollback: rollback}
	c.ask(fmt.Sprintf("update service %s to %s %s", s.Spec.Name, spec.TaskTemplate.ContainerSpec.Image, rollback), func(ctx context.Context, ctl *controlplane.Control) error {
		_, err := ctl.UpdateService(ctx, s.ID, spec, how)
		return err
	}, nil)
}

// remove asks to have a service removed.
func (c *client) remove() {
	s := c.service()
	if s == nil {
		return
	}
	c.w.mu.Lock()
	c.w.rules.removed(s.ID)
	c.w.mu.Unlock()
	c.ask("remove service "+s.Spec.Name, func(ctx context.Context, ctl *controlplane.Control) error {
		return ctl.RemoveService(ctx, s.ID)
	}, nil)
}

// blob asks for a secret, or a config that nothing uses: a write that must never be lost.
func (c *client) blob() {
	c.names++
	name, id := fmt.Sprintf("b%d", c.names), ""
	if c.w.rand.IntN(2) == 0 {
		c.ask("create config "+name, func(ctx context.Context, ctl *controlplane.Control) (err error) {
			spec := swarm.ConfigSpec{Data: []byte(name)}
			spec.Name = name
			id, err = ctl.CreateConfig(ctx, spec)
			return err
		}, func(m *manager) { c.w.rules.written(m, store.Configs.Name(), id) })
		return
	}
	c.ask("create secret "+name, func(ctx context.Context, ctl *controlplane.Control) (err error) {
		spec := swarm.SecretSpec{Data: []byte(name)}
		spec.Name = name
		id, err = ctl.CreateSecret(ctx, spec)
		return err
	}, func(m *manager) {
		c.w.rules.written(m, store.Secrets.Name(), id)
		c.secrets = append(c.secrets, &swarm.SecretReference{
			SecretID: id, SecretName: name, File: &swarm.SecretReferenceFileTarget{Name: name, UID: "0", GID: "0", Mode: 0o444},
		})
	})
}

// attachable asks for a network.
func (c *client) attachable() {
	c.names++
	name, id := fmt.Sprintf("n%d", c.names), ""
	c.ask("create network "+name, func(ctx context.Context, ctl *controlplane.Control) (err error) {
		id, err = ctl.CreateNetwork(ctx, network.CreateRequest{Name: name, Driver: "overlay", Attachable: true})
		return err
	}, func(m *manager) {
		c.w.rules.written(m, store.Networks.Name(), id)
		c.network = id
	})
}

// node asks for a change of a node.
func (c *client) node(id string, change func(*swarm.NodeSpec)) {
	c.w.mu.Lock()
	n := store.Nodes.Get(c.w.view(), id)
	c.w.mu.Unlock()
	if n == nil {
		return
	}
	spec := n.Spec
	spec.Labels = map[string]string{"zone": n.Spec.Labels["zone"]}
	change(&spec)
	c.ask(fmt.Sprintf("node %s %s %s zone %s", id, spec.Role, spec.Availability, spec.Labels["zone"]), func(ctx context.Context, ctl *controlplane.Control) error {
		return ctl.UpdateNode(ctx, id, n.Version.Index, spec)
	}, nil)
}

// role asks to make a manager of a worker, and a worker of a manager.
func (c *client) role(h *host) {
	c.node(h.id, func(n *swarm.NodeSpec) {
		if n.Role == swarm.NodeRoleManager {
			n.Role = swarm.NodeRoleWorker
		} else {
			n.Role = swarm.NodeRoleManager
		}
	})
}

// rotateRoot asks for another root of the swarm's trust, which every node then moves to.
func (c *client) rotateRoot() {
	c.ask("rotate the root", func(ctx context.Context, ctl *controlplane.Control) error {
		now, err := ctl.Swarm()
		if err != nil {
			return err
		}
		now.Spec.CAConfig.ForceRotate++
		return ctl.UpdateSwarm(ctx, now.Spec, controlplane.SwarmUpdate{Version: now.Version.Index})
	}, nil)
}
