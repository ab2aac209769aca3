package agent

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"shoal/internal/cluster"
)

// dialTime bounds the search for the leader at one manager.
const dialTime = 2 * time.Second

// connect finds the leader and holds a session with it; the error is why that ended.
func (a *Agent) connect(ctx context.Context) error {
	client, err := a.findLeader(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stream, err := client.Session(ctx)
	if err != nil {
		return err
	}
	s := &session{agent: a, client: client, stream: stream, ctx: ctx, cancel: cancel}
	return s.run()
}

// findLeader asks the managers in turn who leads, in an order of chance so that not all nodes ask the same one.
func (a *Agent) findLeader(ctx context.Context) (Manager, error) {
	var errs []error
	for _, addr := range a.managers() {
		client, err := a.leaderBy(ctx, addr)
		if err == nil {
			return client, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	if len(errs) == 0 {
		errs = append(errs, cluster.Errorf(errdefs.ErrUnavailable, "no manager is known"))
	}
	return nil, errors.Join(errs...)
}

// managers are all addresses that are known, the remembered ones first.
func (a *Agent) managers() []string {
	var known []string
	for _, p := range a.State().Managers {
		known = append(known, p.Addr)
	}
	for i := len(known) - 1; i > 0; i-- {
		j := a.config.Rand(int64(i + 1))
		known[i], known[j] = known[j], known[i]
	}
	for _, addr := range a.config.Managers {
		if !slices.Contains(known, addr) {
			known = append(known, addr)
		}
	}
	return known
}

func (a *Agent) leaderBy(ctx context.Context, addr string) (Manager, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	client, err := a.config.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	reply, err := client.Leader(ctx)
	if err == nil && reply.Addr == "" {
		err = cluster.Errorf(errdefs.ErrUnavailable, "manager %s knows no leader", addr)
	}
	if err != nil {
		client.Close()
		return nil, err
	}
	if len(reply.Managers) > 0 {
		a.update(func(s *State) { s.Managers = reply.Managers })
	}
	if reply.Addr == addr {
		return client, nil
	}
	client.Close()
	return a.config.Dial(ctx, reply.Addr)
}
