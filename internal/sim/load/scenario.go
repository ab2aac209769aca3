package load

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/moby/moby/api/types/swarm"
)

const (
	pollEvery = 200 * time.Millisecond
	sayEvery  = 2 * time.Second
	// writeEvery and writeTime are the pace of writes that look for a leader.
	writeEvery = 5 * time.Millisecond
	writeTime  = 500 * time.Millisecond
)

// poll calls done until it says true, and tells of what it says now and then.
func (s *simulated) poll(ctx context.Context, every time.Duration, done func() (bool, string, error)) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	said := time.Now()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		over, state, err := done()
		if over || err != nil {
			return err
		}
		if time.Since(said) > sayEvery {
			s.say("%s", state)
			said = time.Now()
		}
		timer.Reset(every)
	}
}

// waitReady waits until all nodes are READY, as a manager sees it.
func (s *simulated) waitReady(ctx context.Context, by *client, without ...string) error {
	want := s.cfg.Agents + len(s.managers) - len(without)
	return s.poll(ctx, pollEvery, func() (bool, string, error) {
		for _, p := range s.agents {
			select {
			case <-p.done:
				return false, "", fmt.Errorf("%s ended: %s", p.name, p.lastWords())
			default:
			}
		}
		nodes, err := by.nodes(ctx)
		if err != nil {
			return false, err.Error(), nil
		}
		have := 0
		for _, n := range nodes {
			if n.Status.State == swarm.NodeStateReady {
				have++
			}
		}
		return have >= want, fmt.Sprintf("%d of %d nodes are ready", have, want), nil
	})
}

// note writes down what was measured under load.
func (s *simulated) note(services, nodes *samples, before []float64) {
	r := &s.report
	r.ServiceLsP50, r.ServiceLsP99 = ms(services.quantile(0.5)), ms(services.quantile(0.99))
	r.NodeLsP50, r.NodeLsP99 = ms(nodes.quantile(0.5)), ms(nodes.quantile(0.99))
	r.Listings, r.Refused = services.count()+nodes.count(), services.failures()+nodes.failures()
	for i, after := range s.cpu() {
		took := after - before[i]
		switch {
		case i == 0:
			r.LeaderCPU = took
		case i < len(s.managers):
			r.FollowerCPU += took
		default:
			r.AgentCPU += took
		}
	}
	now, peak := s.managers[0].memory()
	r.ManagerRSS, r.ManagerPeakRSS = mb(now), mb(peak)
	if r.RunningSeconds > 0 {
		r.TasksPerSecond = math.Round(float64(s.cfg.Tasks) / r.RunningSeconds)
		s.say("%d tasks run after %.1f s: %.0f a second", s.cfg.Tasks, r.RunningSeconds, r.TasksPerSecond)
	}
}

func ms(d time.Duration) float64 { return math.Round(float64(d)/1e5) / 10 }
func mb(n int64) float64         { return math.Round(float64(n) / (1 << 20)) }

// cpu is the processor time of each process so far.
func (s *simulated) cpu() []float64 {
	var list []float64
	for _, p := range s.processes() {
		list = append(list, p.cpuSeconds())
	}
	return list
}

// spec is the service of that number; the tasks are shared evenly.
func (s *simulated) spec(i int) swarm.ServiceSpec {
	replicas := uint64((i+1)*s.cfg.Tasks/s.cfg.Services - i*s.cfg.Tasks/s.cfg.Services)
	var spec swarm.ServiceSpec
	spec.Name = serviceName(i)
	spec.Labels = map[string]string{"simulated": "true"}
	spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{Image: "simulated:1", Env: []string{"VERSION=1"}}
	spec.Mode.Replicated = &swarm.ReplicatedService{Replicas: &replicas}
	return spec
}

func serviceName(i int) string { return fmt.Sprintf("load%04d", i) }

// update rolls the first service over to another spec.
func (s *simulated) update(ctx context.Context) error {
	if !s.cfg.Update {
		return nil
	}
	by := s.managers[0]
	svc, err := by.service(ctx, serviceName(0))
	if err != nil {
		return err
	}
	const monitor = time.Second
	svc.Spec.TaskTemplate.ContainerSpec.Env = []string{"VERSION=2"}
	svc.Spec.UpdateConfig = &swarm.UpdateConfig{Parallelism: s.cfg.Parallelism, Delay: s.cfg.Delay, Monitor: monitor, Order: swarm.UpdateOrderStopFirst, FailureAction: swarm.UpdateFailureActionPause}
	if err := s.profile(ctx, true); err != nil {
		return err
	}
	began := time.Now()
	if err := by.update(ctx, svc); err != nil {
		return err
	}
	err = s.poll(ctx, pollEvery, func() (bool, string, error) {
		now, err := by.service(ctx, svc.ID)
		if err != nil || now.UpdateStatus == nil {
			return false, "the update begins", err
		}
		if now.UpdateStatus.State == swarm.UpdateStatePaused {
			return false, "", errors.New(now.UpdateStatus.Message)
		}
		return now.UpdateStatus.State == swarm.UpdateStateCompleted, "the update is under way", nil
	})
	if err != nil {
		return fmt.Errorf("update: %w", err)
	}
	rounds := 1
	if p := int(s.cfg.Parallelism); p > 0 {
		rounds = (int(*svc.Spec.Mode.Replicated.Replicas) + p - 1) / p
	}
	s.report.Update = time.Since(began).Seconds()
	s.report.UpdatePolicy = (time.Duration(rounds-1)*max(s.cfg.Delay, 0) + monitor).Seconds()
	s.say("a service of %d tasks was updated in %.1f s; its policy alone is %.1f s", *svc.Spec.Mode.Replicated.Replicas, s.report.Update, s.report.UpdatePolicy)
	return s.profile(ctx, false)
}

// killLeader kills the leader and measures until the next write succeeds, and until all agents are back.
func (s *simulated) killLeader(ctx context.Context) error {
	if !s.cfg.KillLeader {
		return nil
	}
	began := time.Now()
	if err := s.managers[0].kill(); err != nil {
		return err
	}
	left := s.managers[1:]
	next := 0
	err := s.poll(ctx, writeEvery, func() (bool, string, error) {
		next++
		trying, cancel := context.WithTimeout(ctx, writeTime)
		defer cancel()
		err := left[next%len(left)].config(trying, fmt.Sprintf("after%d", next))
		return err == nil, "no leader yet", ctx.Err()
	})
	if err != nil {
		return err
	}
	s.report.Failover = ms(time.Since(began))
	if err := s.waitReady(ctx, left[0].client, "the old leader"); err != nil {
		return err
	}
	s.report.ReadyAgain = ms(time.Since(began))
	list, err := left[0].services(ctx)
	if err != nil {
		return err
	}
	if running := sum(list); running != s.cfg.Tasks {
		return fmt.Errorf("after the leader's death %d of %d tasks run", running, s.cfg.Tasks)
	}
	s.say("the leader was killed: a write succeeded after %.0f ms, all agents were ready after %.0f ms", s.report.Failover, s.report.ReadyAgain)
	return nil
}
