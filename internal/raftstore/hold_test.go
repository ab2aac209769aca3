package raftstore

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"shoal/internal/store"
)

func TestRetained(t *testing.T) {
	var h retained
	noon := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	want := func(after time.Duration, floor uint64) {
		t.Helper()
		if got := h.floor(noon.Add(after)); got != floor {
			t.Errorf("after %v: floor %d, want %d", after, got, floor)
		}
	}
	want(0, 0)
	long := h.begin(100, noon)
	short := h.begin(50, noon.Add(time.Minute))
	want(time.Hour, 50) // for as long as they are read
	h.end(short, noon.Add(time.Minute+time.Second))
	h.end(long, noon.Add(10*time.Minute))
	want(2*time.Minute, 50)
	want(3*time.Minute, 100)
	want(20*time.Minute, 100) // as long again as it took
	want(21*time.Minute, 0)
}

// The library's place for a snapshot that is not finished is where its pieces are sent to the disk.
func TestSnapshotsAreWrittenOut(t *testing.T) {
	c, err := (&Config{Dir: t.TempDir(), ID: "n1", Store: store.New(), Transport: At("n1"), Seal: NewSealer([32]byte{1}), SegmentSize: 256 << 10}).withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	d, err := openDisk(c)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	sink, err := d.snaps.Create(raft.SnapshotVersionMax, 1, 1, only(c), 1, c.Transport)
	if err != nil {
		t.Fatal(err)
	}
	out := sink.(*trackedSink).out
	if out.file == nil {
		t.Fatal("the file is not where it was")
	}
	if _, err := sink.Write(make([]byte, writeOutChunk+1)); err != nil {
		t.Fatal(err)
	}
	if out.out < writeOutChunk || d.wrote.Load() < writeOutChunk {
		t.Errorf("%d bytes are on their way to the disk, %d counted", out.out, d.wrote.Load())
	}
	if err := sink.Cancel(); err != nil || out.file != nil {
		t.Errorf("cancelled: %v, %v", err, out.file)
	}
}
