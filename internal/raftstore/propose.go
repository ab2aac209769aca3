package raftstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/hashicorp/raft"
	"golang.org/x/sys/unix"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// Propose appends an entry and returns nil when it is committed and applied here. See [store.Proposer] for what its
// errors mean. With a disk that is nearly full it refuses with class ResourceExhausted before anything is written, and
// accepts again when there is space.
func (n *Node) Propose(ctx context.Context, entry []byte) error {
	if err := n.checkSpace(len(entry)); err != nil {
		return err
	}
	future := n.raft.Apply(entry, 0)
	done := make(chan error, 1)
	go func() { done <- future.Error() }() // raft answers every future, at the latest when it is shut down
	select {
	case err := <-done:
		if err != nil {
			return proposalError(err)
		}
		if err, ok := future.Response().(error); ok {
			return err
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", store.ErrOutcomeUnknown, ctx.Err())
	}
}

// proposalError says what the library's error means for the entry. The library answers with the first three before it
// has put the entry into its log.
func proposalError(err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrEnqueueTimeout):
		return store.ErrNotLeader
	case errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return fmt.Errorf("%w: %w", store.ErrNotLeader, err)
	}
	// Lost while committing, shut down, or the log could not be written, which may have left it on disk after all.
	return fmt.Errorf("%w: %w", store.ErrOutcomeUnknown, err)
}

// checkSpace keeps room on the disk for what Raft itself must write: the next log file is reserved as a whole, and a
// term that cannot be saved ends the process.
func (n *Node) checkSpace(entry int) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(n.config.Dir, &fs); err != nil {
		return fmt.Errorf("free space of %s: %w", n.config.Dir, err)
	}
	free := fs.Bavail * uint64(fs.Bsize)
	need := uint64(max(0, 2*n.config.SegmentSize+2*entry))
	if free < need {
		return cluster.Errorf(errdefs.ErrResourceExhausted,
			"no space left for the swarm's log: %s has %d KiB free and needs %d KiB; free some and try again",
			n.config.Dir, free>>10, need>>10)
	}
	return nil
}

// Verify asks a majority whether this node still leads. After an error, what it reads may be old. See Confirm for many readers.
func (n *Node) Verify() error {
	if err := n.raft.VerifyLeader().Error(); err != nil {
		return store.ErrNotLeader
	}
	return nil
}
