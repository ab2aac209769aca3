package engine

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Purge removes every container, running or not, and what else of the engine outlives the daemon: the memory that
// held secrets and the parent cgroups. Images and volumes are others'. The engine is of no use after it.
func (e *Engine) Purge(ctx context.Context) error {
	var err error
	for _, c := range e.Containers() {
		err = errors.Join(err, ignore(e.Remove(ctx, c.ID(), RemoveOptions{Force: true, Volumes: true}), errdefs.ErrNotFound))
	}
	err = errors.Join(err, e.Close())
	if uerr := unix.Unmount(e.vault(), unix.MNT_DETACH); uerr != nil && !errors.Is(uerr, unix.EINVAL) && !errors.Is(uerr, unix.ENOENT) {
		err = errors.Join(err, uerr)
	}
	for _, dir := range cgroupParents("/sys/fs/cgroup", e.cfg.CgroupParent) {
		if rerr := os.Remove(dir); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
	}
	return err
}

// cgroupParents are the directories of the daemon's cgroup: one a hierarchy in version 1. runc removes only the leaves.
func cgroupParents(root, parent string) []string {
	found, _ := filepath.Glob(filepath.Join(root, "*", parent)) // the pattern is well-formed
	if own := filepath.Join(root, parent); isDir(own) {
		found = append(found, own)
	}
	return found
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
