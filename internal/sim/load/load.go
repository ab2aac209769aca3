package load

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"golang.org/x/sync/errgroup"
)

// createsAtOnce is how many services are created at the same time, as several clients would.
const createsAtOnce = 4

// load creates the services and measures until all tasks run.
func (s *simulated) load(ctx context.Context) error {
	if err := s.profile(ctx, true); err != nil {
		return err
	}
	by := s.managers[0]
	var services, nodes samples
	asking, stop := context.WithCancel(ctx)
	defer stop()
	before, began := s.cpu(), time.Now()
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { services.repeat(asking, by.client, listServices, s.watch(began, done)) })
	wg.Go(func() { nodes.repeat(asking, by.client, listNodes, func(json.RawMessage) {}) })
	err := s.create(ctx)
	if err == nil {
		select {
		case <-done:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	s.note(&services, &nodes, before)
	stop()
	wg.Wait()
	if err != nil {
		return fmt.Errorf("%w; %s", err, by.lastWords())
	}
	return s.profile(ctx, false)
}

// watch returns what counts the running tasks in each listing of services and closes done when all of them run.
func (s *simulated) watch(began time.Time, done chan<- struct{}) func(json.RawMessage) {
	said, over := began, false
	return func(answer json.RawMessage) {
		var list []swarm.Service
		if over || json.Unmarshal(answer, &list) != nil {
			return
		}
		running := sum(list)
		if running == s.cfg.Tasks {
			over = true
			s.report.RunningSeconds = time.Since(began).Seconds()
			close(done)
		} else if time.Since(said) > sayEvery {
			s.say("%d of %d tasks run", running, s.cfg.Tasks)
			said = time.Now()
		}
	}
}

// create creates the services.
func (s *simulated) create(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(createsAtOnce)
	for i := range s.cfg.Services {
		g.Go(func() error { return s.managers[0].create(ctx, s.spec(i)) })
	}
	return g.Wait()
}

func sum(list []swarm.Service) int {
	n := 0
	for _, s := range list {
		if s.ServiceStatus != nil {
			n += int(s.ServiceStatus.RunningTasks)
		}
	}
	return n
}
