package agent

import (
	"context"
	"crypto/x509"
	"errors"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"shoal/internal/cluster"
)

// dialTime bounds the search for the leader at one manager, at first. A manager that many nodes come back to at once may need
// longer: the bound grows with the delay between the attempts.
const dialTime = 2 * time.Second

// link is a connection to a manager.
type link struct {
	Manager
	addr string
	leaf *x509.Certificate // as whom it was made
}

// connect finds the leader and holds a session with it; the error is why that ended. last is the connection of the session
// before, and the one returned that of this session, unless the other side has fallen silent: who ends all sessions with
// its lead may tell who leads now, or lead again, and needs no handshake for that.
func (a *Agent) connect(ctx context.Context, last *link, patience time.Duration) (*link, error) {
	leader, err := a.findFrom(ctx, last, patience)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stream, err := leader.Session(ctx)
	if err != nil {
		leader.Close()
		return nil, err
	}
	s := &session{agent: a, client: leader.Manager, stream: stream, ctx: ctx, cancel: cancel}
	if err = s.run(); errors.Is(err, errSilent) {
		leader.Close()
		return nil, err
	}
	return leader, err
}

// findFrom is findLeader that asks over an open connection first, if there is one.
func (a *Agent) findFrom(ctx context.Context, last *link, patience time.Duration) (*link, error) {
	if last != nil && last.leaf == a.config.Identity.Leaf() {
		if leader, err := a.follow(ctx, last, patience); err == nil {
			return leader, nil
		}
	} else if last != nil {
		last.Close()
	}
	return a.findLeader(ctx, patience)
}

// findLeader asks the managers in turn who leads, in an order of chance so that not all nodes ask the same one.
func (a *Agent) findLeader(ctx context.Context, patience time.Duration) (*link, error) {
	var errs []error
	for _, addr := range a.managers() {
		client, err := a.leaderBy(ctx, addr, patience)
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

func (a *Agent) leaderBy(ctx context.Context, addr string, patience time.Duration) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	l, err := a.dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	return a.follow(ctx, l, patience)
}

func (a *Agent) dial(ctx context.Context, addr string) (*link, error) {
	leaf := a.config.Identity.Leaf()
	client, err := a.config.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	return &link{Manager: client, addr: addr, leaf: leaf}, nil
}

// follow asks the manager at the other end of l who leads, and goes there. l is closed, unless that is it.
func (a *Agent) follow(ctx context.Context, l *link, patience time.Duration) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	reply, err := l.Leader(ctx)
	if err == nil && reply.Addr == "" {
		err = cluster.Errorf(errdefs.ErrUnavailable, "manager %s knows no leader", l.addr)
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	if len(reply.Managers) > 0 {
		a.update(func(s *State) { s.Managers = reply.Managers })
	}
	if reply.Addr == l.addr {
		return l, nil
	}
	l.Close()
	return a.dial(ctx, reply.Addr)
}
