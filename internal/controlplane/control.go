package controlplane

import (
	"context"
	"log/slog"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// Control is the verbs on one swarm's objects. Its methods may be called from many goroutines.
type Control struct {
	Store *store.Store
	// CA makes what belongs to the cluster's trust; nil refuses rotations with ErrNotImplemented.
	CA CA
	// Log may be nil.
	Log *slog.Logger
}

// CA is what the verbs need of the room of certificates. It changes its argument, a copy that the transaction will put,
// and reads and writes nothing else, so that a refused transaction leaves no trace.
type CA interface {
	// RotateToken gives the cluster a new join token for the role; the old one lets no node in any more.
	RotateToken(c *cluster.Cluster, manager bool) error
	// NewUnlockKey returns a fresh key that managers seal their secrets with.
	NewUnlockKey() ([]byte, error)
	// FormatUnlockKey writes a key as users see it: SWMKEY-1-…
	FormatUnlockKey(key []byte) string
	// UpdateCA makes c's trust follow c.Spec.CAConfig as against before: it starts a root rotation when ForceRotate,
	// SigningCACert or SigningCAKey changed. ErrInvalidArgument with the reason when the material is not usable.
	UpdateCA(c, before *cluster.Cluster) error
}

// update runs f in one store transaction.
func (c *Control) update(ctx context.Context, f func(*store.Tx) error) error {
	_, err := c.Store.Update(ctx, f)
	return err
}
