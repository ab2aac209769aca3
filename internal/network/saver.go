package network

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"shoal/internal/cluster"
	"shoal/internal/network/plan"
)

// saver keeps the newest state on disk, for a daemon that starts while no manager is in reach: a whole one, and what came
// after it. It writes behind the caller's back. Of whole states it leaves out what is superseded before its turn.
type saver struct {
	path string
	log  *slog.Logger
	wake chan struct{} // holds one token
	quit sync.WaitGroup

	mu     sync.Mutex
	whole  *cluster.NetworkState  // to be written
	deltas []cluster.NetworkDelta // likewise, after it

	noted int // deltas since the whole one; the gate's owner's
}

func newSaver(path string, log *slog.Logger) *saver {
	s := &saver{path: path, log: log, wake: make(chan struct{}, 1)}
	s.quit.Go(func() {
		for range s.wake {
			if err := s.write(); err != nil {
				log.Warn("network state not saved", "path", path, "err", err)
			}
		}
		if err := s.write(); err != nil {
			log.Warn("network state not saved", "path", path, "err", err)
		}
	})
	return s
}

func (s *saver) write() error {
	s.mu.Lock()
	whole, deltas := s.whole, s.deltas
	s.whole, s.deltas = nil, nil
	s.mu.Unlock()
	if whole != nil {
		b, err := cluster.Marshal(*whole)
		if err != nil {
			return err
		}
		// What is left of the deltas when the process dies between the two does not lead on from the new state.
		if err := errors.Join(writeFile(s.path, b), os.RemoveAll(s.deltaPath())); err != nil {
			return err
		}
	}
	if len(deltas) == 0 {
		return nil
	}
	var b []byte
	for _, d := range deltas {
		one, err := cluster.Marshal(d)
		if err != nil {
			return err
		}
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(one))), one...)
	}
	f, err := os.OpenFile(s.deltaPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}

func (s *saver) deltaPath() string { return s.path + ".changes" }

// mostNoted is how many changes may follow a whole state on disk.
const mostNoted = 4096

// save is called by the owner of the gate alone, as is note. The state's lists must not change afterwards.
func (s *saver) save(state cluster.NetworkState) {
	s.mu.Lock()
	s.whole, s.deltas, s.noted = &state, nil, 0
	s.mu.Unlock()
	token(s.wake)
}

func (s *saver) note(d cluster.NetworkDelta, whole func() cluster.NetworkState) {
	if s.noted++; s.noted > mostNoted {
		s.save(whole())
		return
	}
	s.mu.Lock()
	s.deltas = append(s.deltas, d)
	s.mu.Unlock()
	token(s.wake)
}

// token puts one into a channel that holds one.
func token(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
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
	return s.loadChanges(state)
}

// loadChanges follows what was noted after the whole state, as far as it is whole itself. Noted are changes of members and
// ports alone.
func (s *saver) loadChanges(state cluster.NetworkState) cluster.NetworkState {
	b, err := os.ReadFile(s.deltaPath())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("saved changes of the network state ignored", "path", s.deltaPath(), "err", err)
	}
	members := map[string]*plan.Members{}
	for i := range state.Networks {
		members[state.Networks[i].ID] = plan.NewMembers(&state.Networks[i])
	}
	followed := false
	for len(b) >= 4 {
		size := int(binary.BigEndian.Uint32(b))
		var d cluster.NetworkDelta
		if b = b[4:]; len(b) < size || cluster.Unmarshal(b[:size], &d) != nil || d.Base != state.Index {
			break
		}
		for _, l := range d.Networks {
			if m := members[l.ID]; m != nil {
				m.Change(l)
			}
		}
		state.Ports, state.Index = d.PortsFrom(state.Ports), d.Index
		b, followed = b[size:], true
	}
	for i := range state.Networks {
		if followed {
			members[state.Networks[i].ID].Into(&state.Networks[i])
		}
	}
	return state
}

func (s *saver) close() error {
	close(s.wake)
	s.quit.Wait()
	return nil
}

func (s *saver) remove() error {
	err := errors.Join(s.close(), os.RemoveAll(s.deltaPath()))
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
