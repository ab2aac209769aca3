package store

import (
	"github.com/containerd/errdefs"

	"shoal/internal/cluster"
)

var (
	// ErrNotLeader: this node may not write, and the transaction was NOT written. Try again on the leader.
	ErrNotLeader = cluster.Errorf(errdefs.ErrUnavailable, "this node is not the leader of the swarm")
	// ErrOutcomeUnknown: the transaction may or may not be written, now or later. Read before you try again, unless the
	// write is safe to repeat.
	ErrOutcomeUnknown = cluster.Errorf(errdefs.ErrUnavailable, "leadership or patience was lost while the write was on its way: it may or may not have been made")
	// ErrBehind: the watcher's position is no longer in the history. Start again from a View.
	ErrBehind = cluster.Errorf(errdefs.ErrOutOfRange, "the watch has fallen behind the history that is kept")
	// ErrSequence: the object has changed since the caller read it. Docker's words; its clients match on them.
	ErrSequence = cluster.Errorf(errdefs.ErrUnknown, "update out of sequence")
	// ErrStale: an entry was made on another index than the store's. Nothing of it was applied, nor will ever be.
	ErrStale = cluster.Errorf(errdefs.ErrAborted, "entry is not made on the store's index")
	// ErrTooLarge: the transaction exceeds [MaxTransaction]. Nothing was written; split it.
	ErrTooLarge = cluster.Errorf(errdefs.ErrInvalidArgument, "the write is larger than a single transaction may be")
)

// CheckVersion returns [ErrSequence] unless the version that the caller read (want) is the one that the object has.
func CheckVersion(have, want uint64) error {
	if have != want {
		return ErrSequence
	}
	return nil
}
