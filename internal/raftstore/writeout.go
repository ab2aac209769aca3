package raftstore

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// writeOutChunk is how much of a snapshot may wait in memory for the disk.
const writeOutChunk = 4 << 20

// writeOut sends a snapshot that is being written to the disk piece by piece. The library syncs it once, at its end; until
// then hundreds of megabytes would gather in memory, and the log's next sync would have to wait for all of them.
type writeOut struct {
	file      *os.File // nil: the file was not found; all is slower, and right
	size, out int64
}

// newWriteOut looks for the file where the library writes a snapshot that is not finished.
func newWriteOut(dir, id string) *writeOut {
	f, err := os.Open(filepath.Join(dir, "snapshots", id+".tmp", "state.bin"))
	if err != nil {
		return &writeOut{}
	}
	return &writeOut{file: f}
}

// grown notes that n bytes more were written, and waits for the disk when many are.
func (w *writeOut) grown(n int) {
	w.size += int64(n)
	if w.file == nil || w.size-w.out < writeOutChunk {
		return
	}
	const all = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	// An error is the last sync's to tell: this one promises nothing.
	_ = unix.SyncFileRange(int(w.file.Fd()), w.out, w.size-w.out, all)
	w.out = w.size
}

func (w *writeOut) close() {
	if w.file != nil {
		w.file.Close()
		w.file = nil
	}
}
