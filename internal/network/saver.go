package network

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"shoal/internal/cluster"
)

// saver keeps the newest state on disk, for a daemon that starts while no manager is in reach. It writes behind the
// caller's back and leaves out what is superseded before its turn.
type saver struct {
	path string
	log  *slog.Logger
	todo chan cluster.NetworkState // holds the newest alone
	quit sync.WaitGroup
}

func newSaver(path string, log *slog.Logger) *saver {
	s := &saver{path: path, log: log, todo: make(chan cluster.NetworkState, 1)}
	s.quit.Go(func() {
		for state := range s.todo {
			b, err := cluster.Marshal(state)
			if err == nil {
				err = writeFile(path, b)
			}
			if err != nil {
				log.Warn("network state not saved", "path", path, "err", err)
			}
		}
	})
	return s
}

// save is called by the owner of the gate alone.
func (s *saver) save(state cluster.NetworkState) {
	select {
	case <-s.todo:
	default:
	}
	s.todo <- state
}

func (s *saver) load() (state cluster.NetworkState) {
	b, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return state
	}
	if err == nil {
		err = cluster.Unmarshal(b, &state)
	}
	if err != nil {
		// The managers send it again.
		s.log.Warn("saved network state ignored", "path", s.path, "err", err)
		return cluster.NetworkState{}
	}
	return state
}

func (s *saver) close() error {
	close(s.todo)
	s.quit.Wait()
	return nil
}

func (s *saver) remove() error {
	err := s.close()
	if e := os.Remove(s.path); e != nil && !errors.Is(e, fs.ErrNotExist) {
		err = e
	}
	return err
}

// writeFile replaces a file in one step.
func writeFile(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
