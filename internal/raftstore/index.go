package raftstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// indexedMeta is raft-wal's metadata, mended in two places.
//
// When the end of the log is removed, that library calls the file that held it finished and writes no index into it. It reads on
// while it runs, and cannot read one entry of that file after the next start. This gives every such file its index before the
// metadata that need it are written, and again when they are read, for logs that were left without.
//
// When a file is full, the library notes that in the metadata a moment later. If the process ends in that moment, it finds a file
// that takes no entries and that nobody follows, and refuses every write for good. This notes it then.
//
// The index is an array of four-byte offsets of the entries' frames, little endian. It lies where the file ends, away from what
// a scan for entries would meet if the metadata never came to be written.
type indexedMeta struct {
	metadb.BoltMetaDB
	dir   string
	known map[uint64]uint64 // by segment ID: where an index lies that the library does not know of
}

// Load returns the state with every finished file's index.
func (m *indexedMeta) Load(dir string) (types.PersistentState, error) {
	m.dir, m.known = dir, map[uint64]uint64{}
	s, err := m.BoltMetaDB.Load(dir)
	if err != nil {
		return s, err
	}
	followed, err := follow(dir, &s)
	if err != nil {
		return s, err
	}
	indexed, err := m.index(s)
	if err != nil || len(m.known) == 0 && !followed {
		return indexed, err
	}
	return indexed, m.BoltMetaDB.CommitState(indexed)
}

// follow puts a new file after a newest one that is full already, and says whether it did.
func follow(dir string, s *types.PersistentState) (bool, error) {
	if len(s.Segments) == 0 {
		return false, nil
	}
	tail := &s.Segments[len(s.Segments)-1]
	if !tail.SealTime.IsZero() {
		return false, nil
	}
	w, err := segment.NewFiler(dir, fs.New()).RecoverTail(*tail)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil // noted and not made yet: the library makes it
	}
	if err != nil {
		return false, err
	}
	full, _, err := w.Sealed()
	last := w.LastIndex()
	if err = errors.Join(err, w.Close()); err != nil || !full {
		return false, err
	}
	if last == 0 { // it became full by a write that did not come to be: there is nothing in it
		return false, os.Remove(filepath.Join(dir, segment.FileName(*tail)))
	}
	tail.MaxIndex, tail.SealTime, tail.IndexStart = last, time.Now(), 0
	next := types.SegmentInfo{
		ID: s.NextSegmentID, BaseIndex: last + 1, MinIndex: last + 1, Codec: tail.Codec, CreateTime: tail.SealTime, SizeLimit: tail.SizeLimit,
	}
	s.NextSegmentID++
	s.Segments = append(s.Segments, next)
	return true, nil
}

// CommitState writes the state, after the indexes that are missing.
func (m *indexedMeta) CommitState(s types.PersistentState) error {
	indexed, err := m.index(s)
	if err != nil {
		return err
	}
	return m.BoltMetaDB.CommitState(indexed)
}

func (m *indexedMeta) index(s types.PersistentState) (types.PersistentState, error) {
	s.Segments = slices.Clone(s.Segments)
	for i := range s.Segments {
		info := &s.Segments[i]
		if info.SealTime.IsZero() || info.IndexStart != 0 {
			continue
		}
		start, ok := m.known[info.ID]
		if !ok {
			var err error
			if start, err = writeIndex(filepath.Join(m.dir, segment.FileName(*info)), *info); err != nil {
				return s, fmt.Errorf("index of the log from entry %d: %w", info.BaseIndex, err)
			}
			m.known[info.ID] = start
		}
		info.IndexStart = start
	}
	return s, nil
}

// writeIndex writes the index of a file's entries up to info.MaxIndex and returns where it lies.
func writeIndex(path string, info types.SegmentInfo) (uint64, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	want := info.MaxIndex - info.BaseIndex + 1
	offsets, end, err := frames(f, want)
	if err != nil {
		return 0, err
	}
	var index []byte
	for _, o := range offsets {
		index = binary.LittleEndian.AppendUint32(index, o)
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	start := (size - int64(len(index))) &^ 7
	if start < end+frameHeader { // no room within: the file grows
		start = (size + 7) &^ 7
	}
	if _, err := f.WriteAt(index, start); err != nil {
		return 0, err
	}
	return uint64(start), f.Sync()
}

// The library's file format, as far as a scan for entries needs it: a header, then frames of a type, three bytes of nothing and
// a length, padded to eight bytes. A commit frame has a checksum in place of a length, and nothing in it.
const (
	fileHeader  = 32
	frameHeader = 8
)

// frames returns the offsets of the first want entries, and where the last frame of any kind ends.
func frames(f io.ReaderAt, want uint64) (offsets []uint32, end int64, err error) {
	var header [frameHeader]byte
	for at := int64(fileHeader); ; {
		if _, err := f.ReadAt(header[:], at); err != nil && !errors.Is(err, io.EOF) {
			return nil, 0, err
		} else if err != nil {
			clear(header[:])
		}
		length := int64(binary.LittleEndian.Uint32(header[4:]))
		switch header[0] {
		case segment.FrameEntry:
			if uint64(len(offsets)) < want {
				offsets = append(offsets, uint32(at))
			}
		case segment.FrameIndex:
		case segment.FrameCommit:
			length = 0
		default:
			if uint64(len(offsets)) < want {
				return nil, 0, fmt.Errorf("%w: %d entries, want %d", types.ErrCorrupt, len(offsets), want)
			}
			return offsets, at, nil
		}
		at += frameHeader + (length+7)&^7
	}
}
