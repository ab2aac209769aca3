package raftstore

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"
)

// entries makes Raft entries from first to last, each with its index and a word in it.
func entries(first, last uint64, word string) []*raft.Log {
	var out []*raft.Log
	for i := first; i <= last; i++ {
		out = append(out, &raft.Log{Index: i, Term: 1, Data: fmt.Appendf(nil, "%s-%d", word, i)})
	}
	return out
}

// holds says what is wrong with a log that should hold the words from first to last, by their lengths.
func holds(l raft.LogStore, words []string) error {
	last, err := l.LastIndex()
	if err != nil || last != uint64(len(words)) {
		return fmt.Errorf("last index %d, want %d: %w", last, len(words), err)
	}
	for i, word := range words {
		var log raft.Log
		if err := l.GetLog(uint64(i+1), &log); err != nil {
			return fmt.Errorf("entry %d: %w", i+1, err)
		}
		if want := fmt.Sprintf("%s-%d", word, i+1); string(log.Data) != want {
			return fmt.Errorf("entry %d holds %q, want %q", i+1, log.Data, want)
		}
	}
	return nil
}

// TestRemovedEndSurvivesARestart: a follower that had to drop entries of an overthrown leader can read its log after the next
// start, however often that happened, with many files and few.
func TestRemovedEndSurvivesARestart(t *testing.T) {
	logger := newLogger(slog.New(slog.DiscardHandler))
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		dir := t.TempDir()
		segment := 4 << 10 << random.IntN(6)
		l, err := openLog(dir, segment, nil, logger)
		if err != nil {
			t.Fatal(err)
		}
		var words []string
		for step := range 60 {
			next := uint64(len(words)) + 1
			switch do := random.IntN(10); {
			case do < 6:
				word := fmt.Sprint(step)
				n := uint64(1 + random.IntN(40))
				if err := l.StoreLogs(entries(next, next+n-1, word)); err != nil {
					t.Fatal(err)
				}
				for range n {
					words = append(words, word)
				}
			case do < 9 && len(words) > 1:
				keep := 1 + random.IntN(len(words)-1)
				if err := l.DeleteRange(uint64(keep)+1, uint64(len(words))); err != nil {
					t.Fatal(err)
				}
				words = words[:keep]
			default:
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				if l, err = openLog(dir, segment, nil, logger); err != nil {
					t.Fatalf("seed %d, step %d: %v", seed, step, err)
				}
			}
			if err := holds(l, words); err != nil {
				t.Fatalf("seed %d, step %d: %v", seed, step, err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLogLeftWithoutIndexIsMended opens what the library itself has left.
func TestLogLeftWithoutIndexIsMended(t *testing.T) {
	dir := t.TempDir()
	meta := &metadb.BoltMetaDB{}
	w, err := wal.Open(dir, wal.WithSegmentSize(64<<10), wal.WithMetaStore(meta))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.StoreLogs(entries(1, 10, "a")); err != nil {
		t.Fatal(err)
	}
	if err := w.DeleteRange(8, 10); err != nil {
		t.Fatal(err)
	}
	if err := w.StoreLogs(entries(8, 9, "b")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := meta.Close(); err != nil {
		t.Fatal(err)
	}
	want := []string{"a", "a", "a", "a", "a", "a", "a", "b", "b"}
	for range 2 { // mended once, and as it was mended
		l, err := openLog(dir, 64<<10, nil, newLogger(slog.New(slog.DiscardHandler)))
		if err != nil {
			t.Fatal(err)
		}
		if err := holds(l, want); err != nil {
			t.Error(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestIndexOfAChangeThatNeverCame: the index lies in the file, and the machine lost its power before the metadata were written.
func TestIndexOfAChangeThatNeverCame(t *testing.T) {
	dir := t.TempDir()
	logger := newLogger(slog.New(slog.DiscardHandler))
	l, err := openLog(dir, 4<<10, nil, logger)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.StoreLogs(entries(1, 10, "a")); err != nil {
		t.Fatal(err)
	}
	s, err := l.meta.BoltMetaDB.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	info := s.Segments[0]
	info.MaxIndex = 7
	if _, err := writeIndex(filepath.Join(dir, "00000000000000000001-0000000000000000.wal"), info); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = openLog(dir, 4<<10, nil, logger); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var words []string
	for range 200 { // over the index, and into the next file
		words = append(words, "a")
	}
	if err := l.StoreLogs(entries(11, 200, "a")); err != nil {
		t.Fatal(err)
	}
	if err := holds(l, words); err != nil {
		t.Error(err)
	}
}
