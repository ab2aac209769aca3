package controlplane

import (
	"context"
	"log/slog"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/store"
)

// Control is the verbs on one swarm's objects. Its methods may be called from many goroutines.
type Control struct {
	Store *store.Store
	// Members says how a node takes part in the managers' consensus now: whether it leads and can be reached. Nil for
	// nodes that do not. A nil func shows what the store has.
	Members func(nodeID string) *swarm.ManagerStatus
	// MayDemote says whether the managers would keep their quorum without the node. A nil func allows all.
	MayDemote func(nodeID string) bool
	// Log may be nil.
	Log *slog.Logger

	counts counter
}

// update runs f in one store transaction.
func (c *Control) update(ctx context.Context, f func(*store.Tx) error) error {
	_, err := c.Store.Update(ctx, f)
	return err
}
