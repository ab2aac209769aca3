package load

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"

	"shoal/internal/agent"
	"shoal/internal/ca"
	"shoal/internal/rpc"
)

// Agents says which agents one process runs.
type Agents struct {
	First, Count int // their numbers, which name them
	Token        string
	Managers     []string // host:port
}

// joinsAtOnce bounds how many agents ask for a certificate at the same time.
const joinsAtOnce = 32

// Run joins the agents and holds their sessions until ctx ends. progress is told how many have joined.
func (a Agents) Run(ctx context.Context, progress func(joined int), log *slog.Logger) error {
	identities := make([]*ca.Identity, a.Count)
	var joined atomic.Int64
	g, joining := errgroup.WithContext(ctx)
	g.SetLimit(joinsAtOnce)
	for i := range a.Count {
		g.Go(func() (err error) {
			identities[i], err = a.joinAtLast(joining, i, log)
			progress(int(joined.Add(1)))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("agents join: %w", err)
	}
	g, ctx = errgroup.WithContext(ctx)
	for i, identity := range identities {
		g.Go(func() error {
			return agent.New(agent.Config{
				Identity: identity, Executor: NewExecutor(a.name(i)), Network: NoNetwork{}, Managers: a.Managers, Log: log,
			}).Run(ctx)
		})
	}
	err := g.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (a Agents) name(i int) string { return fmt.Sprintf("agent%05d", a.First+i) }

// joinAgain is the pause before another try to join.
const joinAgain = 200 * time.Millisecond

// joinAtLast joins, again and again while no leader answers.
func (a Agents) joinAtLast(ctx context.Context, i int, log *slog.Logger) (*ca.Identity, error) {
	for {
		identity, err := a.join(ctx, i)
		if !errdefs.IsUnavailable(err) {
			return identity, err
		}
		log.Warn("joining again", "agent", a.name(i), "error", err)
		timer := time.NewTimer(joinAgain)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
	}
}

func (a Agents) join(ctx context.Context, i int) (*ca.Identity, error) {
	bundle, err := rpc.Join(ctx, rpc.Membership{Managers: a.Managers, Token: a.Token, Addr: "127.0.0.1", DataAddr: "127.0.0.1", Hostname: a.name(i)})
	if err != nil {
		return nil, err
	}
	return ca.NewIdentity(bundle)
}
