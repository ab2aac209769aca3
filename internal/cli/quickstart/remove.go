package quickstart

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"

	"shoal/internal/cli/playground"
)

// Remove ends the process that leads to the playground, and removes the playground: no process, mount, namespace, link, control
// group or file is left. It may be called after a quickstart that failed half-way, or twice. A playground that somebody else
// made in the folder is left alone.
func (s *Story) Remove(ctx context.Context) error {
	s.title("Removing what the quickstart made")
	_, err := os.Stat(s.forwarder().pidFile)
	if errors.Is(err, fs.ErrNotExist) {
		s.say("There is no quickstart in %s.", s.Dir)
		return nil
	}
	if err != nil {
		return err
	}
	if err := s.forwarder().end(ctx, s.Self, syscall.SIGTERM); err != nil {
		return err
	}
	p, err := playground.Open(s.Dir)
	if err != nil {
		return err
	}
	if err := p.Remove(); err != nil {
		return err
	}
	s.say("Nothing is left of it.")
	return nil
}
