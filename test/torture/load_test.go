package torture

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
)

// promise is what the API has acknowledged of a service.
type promise struct {
	id       string
	replicas uint64
}

// customer is one client with services of its own. It writes down what was acknowledged; where the answer was lost, it reads
// which of the two possible outcomes came true, and holds the daemon to that from then on.
type customer struct {
	number   int
	docker   *client.Client
	image    string
	random   *rand.Rand
	promised map[string]promise
	made     int      // services so far
	acks     int      // writes acknowledged
	lost     int      // writes whose answer was lost
	faults   []string // what must not have happened
}

const (
	mostServices = 3 // of one customer at a time
	mostReplicas = 4
)

// work creates, scales and removes services until ctx ends; the step under way is finished first.
func (c *customer) work(ctx context.Context) {
	bounded := context.WithoutCancel(ctx)
	for pause(ctx, time.Duration(20+c.random.IntN(150))*time.Millisecond) {
		names := slices.Sorted(maps.Keys(c.promised))
		switch do := c.random.IntN(10); {
		case len(names) == 0 || do < 4 && len(names) < mostServices:
			c.create(bounded)
		case do < 7:
			c.scale(bounded, names[c.random.IntN(len(names))])
		default:
			c.remove(bounded, names[c.random.IntN(len(names))])
		}
	}
}

func (c *customer) fault(format string, a ...any) {
	c.faults = append(c.faults, fmt.Sprintf("client %d: ", c.number)+fmt.Sprintf(format, a...))
}

// lostAnswer says whether an error leaves the outcome open: the connection broke, or the daemon said that it cannot tell.
// Any other refusal is one that a client would see as a bug here.
func (c *customer) lostAnswer(err error, what string) bool {
	if errdefs.IsUnavailable(err) || client.IsErrConnectionFailed(err) || strings.Contains(err.Error(), "EOF") ||
		strings.Contains(err.Error(), "connection reset by peer") || strings.Contains(err.Error(), "broken pipe") || errors.Is(err, context.DeadlineExceeded) {
		c.lost++
		return true
	}
	c.fault("%s was refused: %v", what, err)
	return false
}

// step bounds one request: none may hang.
func step(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, 15*time.Second)
}

func (c *customer) create(ctx context.Context) {
	c.made++
	name, replicas := fmt.Sprintf("c%d-%d", c.number, c.made), uint64(1+c.random.IntN(mostReplicas))
	grace := time.Second
	spec := swarm.ServiceSpec{
		Annotations:  swarm.Annotations{Name: name, Labels: map[string]string{"shoal.drain": "0s"}},
		TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: c.image, StopGracePeriod: &grace}},
		Mode:         swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &replicas}},
	}
	short, cancel := step(ctx)
	defer cancel()
	res, err := c.docker.ServiceCreate(short, client.ServiceCreateOptions{Spec: spec})
	if err == nil {
		c.acks++
		c.promised[name] = promise{res.ID, replicas}
		return
	}
	if !c.lostAnswer(err, "create "+name) {
		return
	}
	if s := c.read(ctx, name); s != nil {
		c.promised[name] = promise{s.ID, replicas}
		c.check(s, replicas)
	}
}

func (c *customer) scale(ctx context.Context, name string) {
	p := c.promised[name]
	want := uint64(c.random.IntN(mostReplicas + 1))
	for {
		s := c.read(ctx, p.id)
		if s == nil {
			c.fault("service %s was acknowledged and is gone", name)
			delete(c.promised, name)
			return
		}
		c.check(s, p.replicas)
		spec := s.Spec
		spec.Mode.Replicated = &swarm.ReplicatedService{Replicas: &want}
		short, cancel := step(ctx)
		_, err := c.docker.ServiceUpdate(short, p.id, client.ServiceUpdateOptions{Version: s.Version, Spec: spec})
		cancel()
		switch {
		case err == nil:
			c.acks++
			c.promised[name] = promise{p.id, want}
			return
		case strings.Contains(err.Error(), "update out of sequence"): // the manager wrote in between
			continue
		case !c.lostAnswer(err, "scale "+name):
			return
		}
		if s := c.read(ctx, p.id); s != nil {
			c.check(s, p.replicas, want)
			c.promised[name] = promise{p.id, *s.Spec.Mode.Replicated.Replicas}
		}
		return
	}
}

func (c *customer) remove(ctx context.Context, name string) {
	p := c.promised[name]
	short, cancel := step(ctx)
	defer cancel()
	_, err := c.docker.ServiceRemove(short, p.id, client.ServiceRemoveOptions{})
	if err == nil {
		c.acks++
		delete(c.promised, name)
		return
	}
	if errdefs.IsNotFound(err) {
		c.fault("service %s was acknowledged and cannot be removed: %v", name, err)
		delete(c.promised, name)
		return
	}
	if c.lostAnswer(err, "remove "+name) && c.read(ctx, p.id) == nil {
		delete(c.promised, name)
	}
}

// read asks for a service until it gets an answer; nil: there is none.
func (c *customer) read(ctx context.Context, ref string) *swarm.Service {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	for {
		short, done := step(ctx)
		res, err := c.docker.ServiceInspect(short, ref, client.ServiceInspectOptions{})
		done()
		switch {
		case err == nil:
			return &res.Service
		case errdefs.IsNotFound(err):
			return nil
		case !c.lostAnswer(err, "inspect "+ref):
			return nil
		}
		c.lost--
		if !pause(ctx, 50*time.Millisecond) {
			c.fault("no answer about %s for a minute: %v", ref, err)
			return nil
		}
	}
}

// check holds a service to the replica counts that are possible.
func (c *customer) check(s *swarm.Service, possible ...uint64) {
	if have := *s.Spec.Mode.Replicated.Replicas; !slices.Contains(possible, have) {
		c.fault("service %s has %d replicas, want one of %v", s.Spec.Name, have, possible)
	}
}
