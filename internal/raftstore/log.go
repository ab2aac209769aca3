package raftstore

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
)

// diskLog is Raft's log and small state in one raft-wal directory, sealed or not. It is what raft-wal lacks: after a
// failed write (a full disk), that library refuses all others for good; diskLog opens it again. See also indexedMeta.
type diskLog struct {
	dir     string
	segment int
	seal    *Sealer
	logger  hclog.Logger
	recent  recent

	write  sync.Mutex // one writer at a time; taken before mu
	broken error      // guarded by write: why the WAL must be opened again before the next write
	ghosts bool       // guarded by write: what could not be written may be there after all

	mu   sync.RWMutex // guards which WAL is open: entries are read while others are written
	wal  *wal.WAL     // nil after a failed reopening, and when closed
	meta *indexedMeta
}

var (
	errLogClosed     = errors.New("the log is closed")
	errChangingFiles = errors.New("the log may be changing files")
)

func openLog(dir string, segment int, seal *Sealer, logger hclog.Logger) (*diskLog, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	l := &diskLog{dir: dir, segment: segment, seal: seal, logger: logger}
	return l, l.open()
}

func (l *diskLog) open() error {
	l.meta = &indexedMeta{}
	w, err := wal.Open(l.dir, wal.WithSegmentSize(l.segment), wal.WithLogger(l.logger), wal.WithMetaStore(l.meta))
	if err != nil {
		return errors.Join(err, l.meta.Close())
	}
	l.wal = w
	return nil
}

// close closes what is open; raft-wal leaves its metadata open, and so locked.
func (l *diskLog) close() error {
	if l.wal == nil {
		return nil
	}
	err := errors.Join(l.wal.Close(), l.meta.Close())
	l.wal = nil
	return err
}

// using calls f with the open WAL.
func (l *diskLog) using(f func(*wal.WAL) error) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.wal == nil {
		return errLogClosed
	}
	return f(l.wal)
}

// writing calls f with a WAL that takes writes.
func (l *diskLog) writing(f func(*wal.WAL) error) error {
	l.write.Lock()
	defer l.write.Unlock()
	return l.writingAlone(f)
}

// writingAlone is writing for who holds the lock.
func (l *diskLog) writingAlone(f func(*wal.WAL) error) error {
	if l.broken != nil {
		if err := l.reopen(); err != nil {
			return fmt.Errorf("open the log again after %w: %w", l.broken, err)
		}
	}
	err := l.using(f)
	if err != nil {
		l.broken = err
	}
	return err
}

func (l *diskLog) reopen() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if errors.Is(l.broken, errLogClosed) {
		return l.broken
	}
	if err := l.close(); err != nil {
		l.logger.Warn("close the failed log", "error", err)
	}
	if err := l.open(); err != nil {
		return err
	}
	if !errors.Is(l.broken, errChangingFiles) {
		l.logger.Info("log opened again", "after", l.broken)
		l.ghosts = true
	}
	l.broken = nil
	return nil
}

// exorcise removes entries that were reported as failed and yet came to lie on disk, before others take their indexes.
func (l *diskLog) exorcise(w *wal.WAL, next uint64) error {
	if !l.ghosts {
		return nil
	}
	last, err := w.LastIndex()
	if err == nil && last >= next {
		err = w.DeleteRange(next, last)
	}
	l.ghosts = err != nil
	return err
}

// FirstIndex is 0 for an empty log.
func (l *diskLog) FirstIndex() (index uint64, err error) {
	err = l.using(func(w *wal.WAL) (err error) { index, err = w.FirstIndex(); return err })
	return index, err
}

// LastIndex is 0 for an empty log.
func (l *diskLog) LastIndex() (index uint64, err error) {
	err = l.using(func(w *wal.WAL) (err error) { index, err = w.LastIndex(); return err })
	return index, err
}

// GetLog reads an entry into log; raft.ErrLogNotFound when there is none.
func (l *diskLog) GetLog(index uint64, log *raft.Log) error {
	if l.recent.get(index, log) {
		return nil
	}
	if err := l.using(func(w *wal.WAL) error { return w.GetLog(index, log) }); err != nil {
		return err
	}
	if l.seal == nil {
		return nil
	}
	return l.seal.openLog(log)
}

// StoreLog appends one entry.
func (l *diskLog) StoreLog(log *raft.Log) error { return l.StoreLogs([]*raft.Log{log}) }

// StoreLogs appends entries and returns when they are on disk. The entries themselves are left as they are.
func (l *diskLog) StoreLogs(logs []*raft.Log) error {
	plain := logs
	if l.seal != nil {
		sealed := make([]*raft.Log, len(logs))
		for i, log := range logs {
			sealed[i] = l.seal.sealLog(log)
		}
		logs = sealed
	}
	return l.writing(func(w *wal.WAL) error {
		l.recent.forgetFrom(logs[0].Index)
		if err := l.exorcise(w, logs[0].Index); err != nil {
			return err
		}
		if err := w.StoreLogs(logs); err != nil {
			return err
		}
		l.recent.add(plain)
		return nil
	})
}

// DeleteRange removes the beginning or the end of the log.
func (l *diskLog) DeleteRange(first, last uint64) error {
	l.write.Lock()
	defer l.write.Unlock()
	l.recent.forget()
	if end, err := l.LastIndex(); err == nil && last >= end && l.broken == nil {
		// The library begins a new file in the background, and would call the wrong file full if the newest one went away
		// meanwhile. There is no other way to wait for it.
		l.broken = errChangingFiles
	}
	return l.writingAlone(func(w *wal.WAL) error { return w.DeleteRange(first, last) })
}

// IsMonotonic tells Raft that the log may have no gaps.
func (l *diskLog) IsMonotonic() bool { return true }

// Set stores one of Raft's own values.
func (l *diskLog) Set(key, value []byte) error {
	return l.using(func(w *wal.WAL) error { return w.Set(key, value) })
}

// Get returns one of Raft's own values, nil if it was never set.
func (l *diskLog) Get(key []byte) (value []byte, err error) {
	err = l.using(func(w *wal.WAL) (err error) { value, err = w.Get(key); return err })
	return value, err
}

// SetUint64 stores one of Raft's own numbers.
func (l *diskLog) SetUint64(key []byte, value uint64) error {
	return l.using(func(w *wal.WAL) error { return w.SetUint64(key, value) })
}

// GetUint64 returns one of Raft's own numbers, 0 if it was never set.
func (l *diskLog) GetUint64(key []byte) (value uint64, err error) {
	err = l.using(func(w *wal.WAL) (err error) { value, err = w.GetUint64(key); return err })
	return value, err
}

// Close closes the files.
func (l *diskLog) Close() error {
	l.write.Lock()
	defer l.write.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = errLogClosed
	l.recent.forget()
	return l.close()
}
