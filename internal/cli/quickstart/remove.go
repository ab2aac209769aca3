package quickstart

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"shoal/internal/daemon"
)

// Remove ends the daemon and the registry, removes every container, network and image of theirs, and then their folders: no
// process, mount, namespace, link or file is left. It may be called after a quickstart that failed half-way, or twice.
func (s *Story) Remove(ctx context.Context) error {
	s.title("Removing what the quickstart made")
	err := process{pidFile: s.daemonPID()}.end(ctx, s.Self, syscall.SIGTERM)
	err = errors.Join(err, s.registry().end(ctx, s.Self, syscall.SIGTERM))
	if err != nil {
		return err
	}
	cfg := daemon.Defaults()
	cfg.DataRoot, cfg.ExecRoot, cfg.PidFile, cfg.BinDir = s.dataRoot(), s.execRoot(), "", filepath.Dir(s.Self)
	if err := daemon.Purge(ctx, cfg, slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	if s.Dir != "" {
		// The folder itself goes only if nothing else lies in it.
		if err := os.Remove(s.Dir); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTEMPTY) {
			return err
		}
	}
	s.say("Nothing is left of it.")
	return nil
}
