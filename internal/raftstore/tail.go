package raftstore

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"

	"github.com/containerd/errdefs"
	"github.com/hashicorp/raft"

	"shoal/internal/cluster"
)

// Tail is where a server's log ends.
type Tail struct{ Index, Term uint64 }

// Compare is positive when t is newer than other by Raft's rule: everything that was acknowledged is on the newest disk of
// any majority.
func (t Tail) Compare(other Tail) int {
	return cmp.Or(cmp.Compare(t.Term, other.Term), cmp.Compare(t.Index, other.Index))
}

// Tail is where this server's log ends.
func (n *Node) Tail() Tail {
	stats := n.raft.Stats()
	var t Tail
	t.Index, _ = strconv.ParseUint(stats["last_log_index"], 10, 64) // the library wrote them
	t.Term, _ = strconv.ParseUint(stats["last_log_term"], 10, 64)
	return t
}

// TailOf is where the log in dir ends, while nobody has it open. No key is needed. The error is of class Conflict when
// somebody has, NotFound when there is no log.
func TailOf(dir string) (Tail, error) {
	if _, err := os.Stat(filepath.Join(dir, "wal")); errors.Is(err, fs.ErrNotExist) {
		return Tail{}, cluster.Errorf(errdefs.ErrNotFound, "there is no raft state in %s", dir)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return Tail{}, err
	}
	defer lock.Close()
	// In the clear whether it is sealed or not: index and term are not secret.
	logger := newLogger(slog.New(slog.DiscardHandler))
	d := disk{lock: lock}
	if d.log, err = openLog(filepath.Join(dir, "wal"), defaultSegmentSize, nil, logger); err != nil {
		return Tail{}, fmt.Errorf("open the log in %s: %w", dir, err)
	}
	defer d.log.Close()
	files, err := raft.NewFileSnapshotStoreWithLogger(dir, snapshotsKept, logger)
	if err != nil {
		return Tail{}, err
	}
	return tail(d.log, files)
}

func tail(l *diskLog, snaps raft.SnapshotStore) (Tail, error) {
	var t Tail
	list, err := snaps.List()
	if err != nil {
		return t, err
	}
	if len(list) > 0 {
		t = Tail{list[0].Index, list[0].Term}
	}
	last, err := l.LastIndex()
	if err != nil || last <= t.Index {
		return t, err
	}
	var entry raft.Log
	if err := l.GetLog(last, &entry); err != nil {
		return t, err
	}
	return Tail{entry.Index, entry.Term}, nil
}
