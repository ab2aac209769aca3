package raftstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/containerd/errdefs"
	"github.com/hashicorp/raft"
	"golang.org/x/sys/unix"

	"shoal/internal/cluster"
)

// disk is what a node keeps below its Dir: wal/, snapshots/, the marker of the seal, and a lock.
type disk struct {
	lock   *os.File
	log    *diskLog
	snaps  raft.SnapshotStore
	holds  retained      // on the log
	wrote  atomic.Uint64 // bytes of snapshots
	growth *growth
}

func openDisk(c Config) (*disk, error) {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := lockDir(c.Dir)
	if err != nil {
		return nil, err
	}
	d := &disk{lock: lock, growth: newGrowth(c.SnapshotBytes)}
	if err := d.open(c); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (d *disk) open(c Config) error {
	if err := checkSeal(c.Dir, c.Seal); err != nil {
		return err
	}
	logger := newLogger(c.Log)
	var err error
	if d.log, err = openLog(filepath.Join(c.Dir, "wal"), c.SegmentSize, c.Seal, logger); err != nil {
		return err
	}
	files, err := raft.NewFileSnapshotStoreWithLogger(c.Dir, snapshotsKept, logger)
	if err != nil {
		return err
	}
	d.snaps = files
	if c.Seal != nil {
		d.snaps = &sealedSnapshots{files, c.Seal}
	}
	kept, err := d.snaps.List()
	if err != nil {
		return err
	}
	if len(kept) > 0 {
		d.growth.newest.Store(kept[0].Size)
	}
	d.snaps = tracked{d.snaps, c.Dir, &d.holds, &d.wrote, d.growth}
	return nil
}

// lockDir keeps a second process out. The library's own lock would wait for ever, without a word.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = cluster.Errorf(errdefs.ErrConflict, "%s is in use by another process", dir)
		} else {
			err = fmt.Errorf("lock %s: %w", dir, err)
		}
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (d *disk) close() error {
	var err error
	if d.log != nil {
		err = d.log.Close()
	}
	return errors.Join(err, d.lock.Close())
}
