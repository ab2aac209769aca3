package chaos

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"

	"shoal/internal/cli/playground"
	"shoal/test/machines"
)

const (
	managers, workers = 3, 2
	service           = "web"
	replicas          = 6
	diskSize          = 512 << 20
)

// rig is a cluster with a service on it.
type rig struct {
	*testing.T
	play  *playground.Playground
	api   map[int]*client.Client // by machine number
	image string
}

// newRig makes a cluster of three managers and two workers, each with a disk of its own, and runs the service on it.
func newRig(t *testing.T, subnet string) *rig {
	t.Helper()
	p := machines.New(t, subnet, diskSize)
	r := &rig{T: t, play: p, api: map[int]*client.Client{}, image: p.Registry() + "/web:v1"}
	t.Cleanup(r.end)
	if err := p.StartRegistry(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := p.Up(t.Context(), managers, workers, func(what string) { t.Log(what) })
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range p.Machines() {
		if r.api[m.Number], err = direct(m); err != nil {
			t.Fatal(err)
		}
	}
	wanted := uint64(replicas)
	grace := time.Second
	_, err = r.api[1].ServiceCreate(t.Context(), client.ServiceCreateOptions{Spec: swarm.ServiceSpec{
		Annotations:  swarm.Annotations{Name: service},
		TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: r.image, StopGracePeriod: &grace}},
		Mode:         swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &wanted}},
		EndpointSpec: &swarm.EndpointSpec{Ports: []swarm.PortConfig{{TargetPort: 80, PublishedPort: 8080}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	r.settle(time.Minute)
	return r
}

func (r *rig) end() {
	for _, c := range r.api {
		c.Close()
	}
	if r.Failed() {
		for _, m := range r.play.Machines() {
			b, err := os.ReadFile(m.Log())
			if err == nil {
				r.Logf("the end of %s's log:\n%s", m.Name, b[max(0, len(b)-6000):])
			}
		}
	}
	if err := r.play.Remove(); err != nil {
		r.Error(err)
	}
}

// direct is a client of one machine's daemon. Each request has a connection of its own, since connections to a daemon that was
// stopped hang.
func direct(m *playground.Machine) (*client.Client, error) {
	t := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", m.Socket())
	}}
	return client.New(client.WithHost("unix://"+m.Socket()), client.WithHTTPClient(&http.Client{Transport: t}), client.WithScheme("http"))
}

// machine returns machine n.
func (r *rig) machine(n int) *playground.Machine { return r.play.Machines()[n-1] }

// requestTime bounds one request: a stopped daemon answers nothing.
const requestTime = 5 * time.Second

// first asks all managers at once and returns the first good answer: one that is broken must not be waited for.
func first[T any](r *rig, ask func(ctx context.Context, api *client.Client) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	ctx, cancel := context.WithTimeout(r.Context(), requestTime)
	defer cancel()
	answers := make(chan answer, managers)
	for n := 1; n <= managers; n++ {
		go func() {
			v, err := ask(ctx, r.api[n])
			answers <- answer{v, err}
		}()
	}
	var errs []error
	for range managers {
		a := <-answers
		if a.err == nil {
			return a.value, nil
		}
		errs = append(errs, a.err)
	}
	var none T
	return none, errors.Join(errs...)
}

// nodes lists the nodes.
func (r *rig) nodes() ([]swarm.Node, error) {
	return first(r, func(ctx context.Context, api *client.Client) ([]swarm.Node, error) {
		list, err := api.NodeList(ctx, client.NodeListOptions{})
		return list.Items, err
	})
}

// leader waits until somebody leads, and returns its machine.
func (r *rig) leader() *playground.Machine {
	r.Helper()
	var found *playground.Machine
	r.await(time.Minute, "nobody leads", func() error {
		list, err := r.nodes()
		for _, n := range list {
			if n.ManagerStatus != nil && n.ManagerStatus.Leader {
				found, err = r.play.Find(n.Description.Hostname)
				return err
			}
		}
		return errors.Join(errors.New("no manager is shown as the leader"), err)
	})
	return found
}

// target is a machine that a word stands for: "leader", "follower" or "worker". Of several it is the one with the most replicas:
// a machine that has just been broken has none, and one that falls over and over is given none for minutes.
func (r *rig) target(word string) *playground.Machine {
	r.Helper()
	leader := r.leader()
	var able []*playground.Machine
	for _, m := range r.play.Machines() {
		switch manages := m.Number <= managers; {
		case word == "leader" && m.Number == leader.Number, word == "follower" && manages && m.Number != leader.Number, word == "worker" && !manages:
			able = append(able, m)
		}
	}
	if len(able) == 0 {
		r.Fatalf("no target %q: want leader, follower or worker", word)
	}
	return slices.MaxFunc(able, func(a, b *playground.Machine) int { return cmp.Compare(r.replicasOn(a), r.replicasOn(b)) })
}

func (r *rig) replicasOn(m *playground.Machine) int {
	r.Helper()
	list, err := r.containers(m)
	if err != nil {
		r.Fatal(err)
	}
	return len(list)
}

// await asks until ok returns nil, and fails with its last error when limit is over.
func (r *rig) await(limit time.Duration, what string, ok func() error) {
	r.Helper()
	over := time.NewTimer(limit)
	defer over.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok()
		if err == nil {
			return
		}
		select {
		case <-over.C:
			r.Fatalf("%s (waited %v): %v", what, limit, err)
		case <-r.Context().Done():
			r.Fatal(r.Context().Err())
		case <-tick.C:
		}
	}
}

// hold waits for d.
func (r *rig) hold(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.Context().Done():
	}
}

// words reads a list from the environment.
func words(name string, otherwise []string) []string {
	if text := os.Getenv(name); text != "" {
		return strings.Split(text, ",")
	}
	return slices.Clone(otherwise)
}

// restTime is how long a replica on a machine that has fallen often is waited for.
const restTime = 4 * time.Minute

// spread makes sure that the machine runs a replica, so that there is something to lose: what has moved away does not come back
// by itself, and a machine that fell seven times in ten minutes, as these do, is given nothing for 160 seconds.
func (r *rig) spread(m *playground.Machine) {
	r.Helper()
	for began := time.Now(); time.Since(began) < restTime; {
		if r.replicasOn(m) > 0 {
			return
		}
		for _, n := range []uint64{2 * replicas, replicas} {
			r.await(30*time.Second, "scale", func() error { return r.scale(n) })
			r.await(time.Minute, "scaled", func() error {
				list, err := r.tasks()
				if err == nil && len(list) != int(n) {
					err = fmt.Errorf("%d tasks, want %d", len(list), n)
				}
				for _, t := range list {
					if t.Status.State != swarm.TaskStateRunning {
						err = fmt.Errorf("%s.%d is %s", service, t.Slot, t.Status.State)
					}
				}
				return err
			})
		}
		r.settle(settleTime)
	}
	r.Fatalf("no replica comes to %s", m.Name)
}

// scale asks the first manager that answers.
func (r *rig) scale(to uint64) error {
	var errs []error
	for n := 1; n <= managers; n++ {
		err := r.scaleAt(n, to)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// scaleAt asks manager n to have so many replicas.
func (r *rig) scaleAt(n int, to uint64) error {
	ctx, cancel := context.WithTimeout(r.Context(), requestTime)
	defer cancel()
	have, err := r.api[n].ServiceInspect(ctx, service, client.ServiceInspectOptions{})
	if err != nil {
		return err
	}
	spec := have.Service.Spec
	spec.Mode.Replicated = &swarm.ReplicatedService{Replicas: &to}
	_, err = r.api[n].ServiceUpdate(ctx, have.Service.ID, client.ServiceUpdateOptions{Version: have.Service.Version, Spec: spec})
	return err
}
