package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Purge removes every trace of the daemon that cfg describes from this machine: containers, links, namespaces, mounts, its
// containerd, and both roots with all that they hold. The daemon itself must have ended. Calling it again is right; after an
// error the folders are still there, so that it can be.
func Purge(ctx context.Context, cfg Config, log *slog.Logger) error {
	if _, err := os.Stat(cfg.DataRoot); errors.Is(err, os.ErrNotExist) {
		return removeRoots(cfg)
	}
	d := &daemon{cfg: cfg, log: log}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"data root", d.openRoot},
		{"containerd", d.openContainerd},
		{"images and volumes", d.openStores},
		{"network", d.openNetwork},
		{"containers", d.openEngine},
	} {
		if err := step.do(ctx); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", step.name, err), d.close())
		}
	}
	err := errors.Join(d.engine.Purge(ctx), d.network.Purge(), d.containerd.Stop(), d.lock.Close())
	if err != nil {
		return err
	}
	return removeRoots(cfg)
}

// removeRoots unmounts what is mounted below the roots, the innermost first, and removes them.
func removeRoots(cfg Config) error {
	roots := []string{cfg.ExecRoot, cfg.DataRoot}
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return !slices.ContainsFunc(roots, func(r string) bool { return m.Mountpoint == r || strings.HasPrefix(m.Mountpoint, r+"/") }), false
	})
	if err != nil {
		return fmt.Errorf("mounts: %w", err)
	}
	slices.SortFunc(mounts, func(a, b *mountinfo.Info) int { return strings.Compare(b.Mountpoint, a.Mountpoint) })
	for _, m := range mounts {
		if err := unix.Unmount(m.Mountpoint, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", m.Mountpoint, err)
		}
	}
	var errs []error
	for _, r := range roots {
		errs = append(errs, os.RemoveAll(r))
	}
	return errors.Join(errs...)
}
