package raftstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"golang.org/x/sys/unix"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// fullDisk mounts a file system of 4 MiB and returns how to fill it up and to empty it again.
func fullDisk(t *testing.T) (dir string, fill, empty func()) {
	if os.Geteuid() != 0 {
		t.Fatal("this test mounts a file system: run it as root")
	}
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(dir, "ballast")
	fill = func() {
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := io.Copy(f, bytes.NewReader(make([]byte, 8<<20))); !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("filling the disk: %v", err)
		}
	}
	empty = func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	return dir, fill, empty
}

func TestLogGoesOnAfterAFullDisk(t *testing.T) {
	dir, fill, empty := fullDisk(t)
	const segment = 64 << 10
	seal := NewSealer([32]byte{1})
	logger := newLogger(slog.New(slog.DiscardHandler))
	l, err := openLog(filepath.Join(dir, "wal"), segment, seal, logger)
	if err != nil {
		t.Fatal(err)
	}
	data := bytes.Repeat([]byte("x"), 1000)
	index := uint64(0)
	store := func() error {
		err := l.StoreLogs([]*raft.Log{{Index: index + 1, Term: 1, Data: data}})
		if err == nil {
			index++
		}
		return err
	}
	for round := range 3 {
		fill()
		err = nil
		for range 200 { // more than is left of the segment
			if err = store(); err != nil {
				break
			}
		}
		if err == nil {
			t.Fatal("the log was never full")
		}
		if err := store(); err == nil {
			t.Fatal("written, on a full disk")
		}
		empty()
		if err := store(); err != nil {
			t.Fatalf("round %d, with space again: %v", round, err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = openLog(filepath.Join(dir, "wal"), segment, seal, logger); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	last, err := l.LastIndex()
	if err != nil || last != index {
		t.Fatalf("last index %d (%v), want %d", last, err, index)
	}
	for i := uint64(1); i <= last; i++ {
		var got raft.Log
		if err := l.GetLog(i, &got); err != nil || !bytes.Equal(got.Data, data) {
			t.Fatalf("entry %d: %v", i, err)
		}
	}
}

// TestNodeOutlivesAFullDisk takes the check of free space away, so that the log itself fails under a leader.
func TestNodeOutlivesAFullDisk(t *testing.T) {
	dir, fill, empty := fullDisk(t)
	_, transport := raft.NewInmemTransport("n1")
	s := store.New()
	n, err := Open(Config{Dir: filepath.Join(dir, "raft"), ID: "n1", Store: s, Transport: transport, Bootstrap: true, SegmentSize: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	n.config.SegmentSize = -1 << 40
	gained := make(chan bool, 64)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for leads := range n.LeaderCh() {
			if !leads {
				s.Follow()
				continue
			}
			s.Lead(n)
			gained <- true
		}
		s.Follow()
	}()
	defer func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		<-ended
	}()
	count := 0
	write := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := s.Update(ctx, func(tx *store.Tx) error {
			c := &cluster.Config{}
			c.ID, c.Spec.Data = fmt.Sprint("c", count), make([]byte, 1000)
			store.Configs.Put(tx, c)
			return nil
		})
		if err == nil {
			count++
		}
		return err
	}
	<-gained
	if err := write(); err != nil {
		t.Fatal(err)
	}
	fill()
	for range 200 {
		if err = write(); err != nil {
			break
		}
	}
	if !errors.Is(err, store.ErrOutcomeUnknown) {
		t.Fatalf("write on a full disk: %v", err)
	}
	empty()
	timeout := time.After(20 * time.Second)
	for write() != nil {
		select {
		case <-gained:
		case <-timeout:
			t.Fatal("it never takes writes again")
		}
	}
	for i := range count {
		if store.Configs.Get(s.View(), fmt.Sprint("c", i)) == nil {
			t.Errorf("c%d was acknowledged and is gone", i)
		}
	}
}

func TestSealedEntryIsBoundToItsPlace(t *testing.T) {
	s := NewSealer([32]byte{1})
	entry := &raft.Log{Index: 7, Term: 2, Type: raft.LogCommand, Data: []byte("data"), Extensions: []byte("more")}
	sealed := s.sealLog(entry)
	if string(entry.Data) != "data" || bytes.Contains(sealed.Data, []byte("data")) {
		t.Fatal("sealed in place, or not at all")
	}
	if bytes.Equal(sealed.Data, s.sealLog(entry).Data) {
		t.Error("the same entry is sealed to the same bytes")
	}
	good := *sealed
	if err := s.openLog(&good); err != nil || string(good.Data) != "data" || string(good.Extensions) != "more" {
		t.Errorf("opened: %q %q, %v", good.Data, good.Extensions, err)
	}
	for name, change := range map[string]func(*raft.Log){
		"another index": func(l *raft.Log) { l.Index++ },
		"another term":  func(l *raft.Log) { l.Term++ },
		"another type":  func(l *raft.Log) { l.Type = raft.LogNoop },
		"a flipped bit": func(l *raft.Log) { l.Data = bytes.Clone(l.Data); l.Data[30] ^= 1 },
		"cut short":     func(l *raft.Log) { l.Data = l.Data[:10] },
	} {
		l := *sealed
		change(&l)
		if err := s.openLog(&l); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

func TestSealedSnapshotStream(t *testing.T) {
	s := NewSealer([32]byte{1})
	sealed := func(n int, index uint64) ([]byte, []byte) {
		clear := bytes.Repeat([]byte("0123456789abcdef"), n/16+1)[:n]
		var b bytes.Buffer
		w := newSealWriter(&b, s, index, 1)
		for rest := clear; len(rest) > 0; {
			k := min(len(rest), 10_007)
			if _, err := w.Write(rest[:k]); err != nil {
				t.Fatal(err)
			}
			rest = rest[k:]
		}
		if err := w.finish(); err != nil {
			t.Fatal(err)
		}
		return clear, b.Bytes()
	}
	open := func(b []byte, index uint64) ([]byte, error) {
		return io.ReadAll(newSealReader(io.NopCloser(bytes.NewReader(b)), s, index, 1))
	}
	for _, n := range []int{0, 1, clearChunk - 1, clearChunk, clearChunk + 1, 3 * clearChunk, 3*clearChunk + 5} {
		clear, b := sealed(n, 9)
		if got := clearSize(int64(len(b))); got != int64(n) {
			t.Errorf("size of %d bytes is taken for %d", n, got)
		}
		if got, err := open(b, 9); err != nil || !bytes.Equal(got, clear) {
			t.Errorf("%d bytes: %d came back, %v", n, len(got), err)
		}
		if _, err := open(b, 8); err == nil {
			t.Errorf("%d bytes: opened as another snapshot", n)
		}
		if _, err := open(b[:len(b)-1], 9); err == nil {
			t.Errorf("%d bytes: opened without the last byte", n)
		}
		if n > clearChunk {
			if _, err := open(b[:prefixSize+sealedChunk], 9); err == nil {
				t.Errorf("%d bytes: opened without its later chunks", n)
			}
		}
	}
}

func TestLeaderChannel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLeaderCh()
		barrier := make(chan error)
		leads := false
		var beats atomic.Int64
		beat := func() { beats.Add(1) }
		go l.run(func() error { return <-barrier }, func(now bool) { leads = now }, beat, time.Second)
		told := func(want bool) {
			t.Helper()
			if got := <-l.out; got != want {
				t.Errorf("told %v, want %v", got, want)
			}
		}
		quiet := func() {
			t.Helper()
			synctest.Wait()
			select {
			case got := <-l.out:
				t.Errorf("told %v, want nothing", got)
			default:
			}
		}
		l.notify <- true
		quiet() // not before all is applied
		if !leads {
			t.Error("the pace is a follower's until the barrier")
		}
		barrier <- nil
		told(true)
		l.notify <- false
		told(false)
		l.notify <- true // gained and lost before the barrier: nothing to tell
		l.notify <- false
		quiet()
		barrier <- errors.New("lost")
		quiet()
		l.notify <- true // gained and lost before it was told
		barrier <- nil
		synctest.Wait()
		l.notify <- false
		quiet()
		l.notify <- true
		barrier <- nil
		told(true)
		l.notify <- false // lost and gained again: both are told
		l.notify <- true
		barrier <- nil
		synctest.Wait()
		told(false)
		told(true)
		before := beats.Load()
		<-time.After(10 * time.Second)
		synctest.Wait()
		if got := beats.Load() - before; got != 10 {
			t.Errorf("a leader beat %d times in ten intervals", got)
		}
		l.notify <- false
		told(false)
		before = beats.Load()
		<-time.After(10 * time.Second)
		if beats.Load() != before {
			t.Error("a follower beats")
		}
		l.stop()
		if _, open := <-l.out; open {
			t.Error("the channel stays open")
		}
	})
}

// A leader keeps its lease when two beats are lost and the next is as late as it may be; Raft takes the settings.
func TestTiming(t *testing.T) {
	for _, election := range []time.Duration{50 * time.Millisecond, defaultElectionTimeout, 5 * time.Second} {
		c := (&Config{ID: "n1", ElectionTimeout: election}).raft()
		for _, leads := range []bool{false, true} {
			c.HeartbeatTimeout = heartbeat(election, leads)
			c.ElectionTimeout = c.HeartbeatTimeout
			if err := raft.ValidateConfig(c); err != nil {
				t.Errorf("election %v, leads %v: %v", election, leads, err)
			}
		}
		if every := beatEvery(election); 3*every > c.LeaderLeaseTimeout {
			t.Errorf("election %v: beats come every %v, the lease is %v", election, every, c.LeaderLeaseTimeout)
		}
		soonest, latest := heartbeat(election, true)/10, heartbeat(election, true)/5
		if soonest <= beatEvery(election) || latest+beatEvery(election) > c.LeaderLeaseTimeout {
			t.Errorf("election %v: the library's own beats come after %v to %v, ours after %v", election, soonest, latest, beatEvery(election))
		}
	}
}
