package manager

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/ca"
	"shoal/internal/raftstore"
	"shoal/internal/store"
)

// Group is the Raft group as far as the upkeep of its members needs it.
type Group interface {
	Servers() []raftstore.Server
	Remove(ctx context.Context, id string) error
	Transfer() error
}

// MembersConfig says what the upkeep of members works with. Log may be nil.
type MembersConfig struct {
	Store *store.Store
	Group Group
	Self  string           // this node's ID
	Now   func() time.Time // nil: time.Now
	Log   *slog.Logger
}

// membersRetry is how long a change of the Raft group that failed waits for the next try.
const membersRetry = time.Second

// Members keeps the Raft group to the managers that the store names, ends a root rotation when all nodes have moved, and
// takes out dead managers where the swarm wants it. It runs while this node leads. A demoted or removed manager leaves the group here; joining it is a call of the manager
// itself, when it is ready.
func Members(ctx context.Context, cfg MembersConfig) error {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	for {
		v := cfg.Store.View()
		after := silence(v)
		err := errors.Join(fitGroup(ctx, cfg, v), finishRotation(ctx, cfg.Store), cleanUp(ctx, cfg, after))
		if err != nil && ctx.Err() == nil {
			cfg.Log.Warn("upkeep of the managers failed, will try again", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(membersRetry):
			}
			if ctx.Err() == nil {
				continue
			}
		}
		awaitMembers(ctx, cfg.Store, v.Index(), after/cleanupChecks)
		if ctx.Err() != nil {
			return nil
		}
	}
}

// awaitMembers waits for a change that concerns the members, or, since silence is no change, for that time if it is not 0.
func awaitMembers(ctx context.Context, s *store.Store, index uint64, most time.Duration) {
	if most > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, most)
		defer cancel()
	}
	for ev, err := range s.Watch(ctx, index) {
		if err != nil || concernsMembers(ev) {
			return
		}
	}
}

func concernsMembers(ev store.Event) bool {
	for _, c := range ev.Changes {
		if c.Table == store.Nodes.Name() || c.Table == store.Clusters.Name() {
			return true
		}
	}
	return false
}

// fitGroup takes out of the Raft group whoever is no manager in the store. The leader hands the lead over before it goes.
func fitGroup(ctx context.Context, cfg MembersConfig, v store.View) error {
	if store.Nodes.Len(v) == 0 {
		return nil // a new swarm, whose first node is about to be written
	}
	var errs []error
	for _, s := range cfg.Group.Servers() {
		n := store.Nodes.Get(v, s.ID)
		if n != nil && n.Spec.Role == swarm.NodeRoleManager {
			continue
		}
		if s.ID == cfg.Self {
			errs = append(errs, cfg.Group.Transfer()) // the next leader takes this node out
			continue
		}
		errs = append(errs, cfg.Group.Remove(ctx, s.ID))
	}
	return errors.Join(errs...)
}

func finishRotation(ctx context.Context, s *store.Store) error {
	if c := store.ClusterOf(s.View()); c == nil || c.Root.Next == nil {
		return nil
	}
	_, err := s.Update(ctx, func(tx *store.Tx) error {
		next, err := ca.Finish(store.ClusterOf(tx), store.Nodes.All(tx))
		if err == nil && next != nil {
			store.Clusters.Put(tx, next)
		}
		return err
	})
	return err
}
