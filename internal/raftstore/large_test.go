package raftstore_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"shoal/internal/cluster"
	"shoal/internal/raftstore"
	"shoal/internal/store"
)

// fill writes that many megabytes, in configs of four kilobytes.
func (m *member) fill(t testing.TB, megabytes int) {
	t.Helper()
	const size, batch = 4 << 10, 128
	data := make([]byte, size)
	source := rand.NewChaCha8([32]byte{1})
	for i := range megabytes << 20 / (size * batch) {
		_, err := m.store.Update(t.Context(), func(tx *store.Tx) error {
			for j := range batch {
				c := &cluster.Config{}
				source.Read(data)
				c.ID, c.Spec.Data = fmt.Sprintf("fill-%d-%d", i, j), slices.Clone(data)
				store.Configs.Put(tx, c)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// writer writes all the time and measures how long each write takes.
func (m *member) writer(t testing.TB) (stop func() []time.Duration) {
	ctx, cancel := context.WithCancel(t.Context())
	var took []time.Duration
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			began := time.Now()
			if err := m.write(fmt.Sprint("w", i%100)); err != nil {
				t.Errorf("write %d: %v", i, err)
				return
			}
			took = append(took, time.Since(began))
		}
	})
	return func() []time.Duration {
		cancel()
		wg.Wait()
		slices.Sort(took)
		return took
	}
}

func figures(took []time.Duration) string {
	at := func(q float64) time.Duration { return took[int(q*float64(len(took)-1))] }
	return fmt.Sprintf("%d writes, p50 %v, p99 %v, worst %v", len(took), at(0.5), at(0.99), at(1))
}

// BenchmarkJoinLargeState lets a third manager join two that hold 512 MB, while one client writes all the time.
func BenchmarkJoinLargeState(b *testing.B) {
	const megabytes = 512
	for range b.N {
		members := group(b, 2, raftstore.Config{Seal: key(1), SegmentSize: 16 << 20, ElectionTimeout: 5 * time.Second}) // a busy machine is no matter here
		leader := members[0]
		began := time.Now()
		leader.fill(b, megabytes)
		b.Logf("filled in %v", time.Since(began))
		stop := leader.writer(b)
		<-time.After(3 * time.Second)
		b.Logf("in peace: %s", figures(stop()))
		stop = leader.writer(b)
		began = time.Now()
		if err := leader.Snapshot(); err != nil {
			b.Fatal(err)
		}
		b.Logf("while a snapshot of %v was written: %s", time.Since(began), figures(stop()))
		stop = leader.writer(b)
		joiner := start(b, raftstore.Config{Dir: b.TempDir(), ID: "n3", Seal: key(3), SegmentSize: 16 << 20, ElectionTimeout: 5 * time.Second})
		began = time.Now()
		if err := leader.AddNonvoter(b.Context(), "n3", joiner.layer.Addr().String()); err != nil {
			b.Fatal(err)
		}
		catchUp(b, leader, joiner)
		joined := time.Since(began)
		b.Logf("while a manager joined in %v: %s", joined, figures(stop()))
		b.ReportMetric(joined.Seconds(), "s/join")
	}
}

// A follower that is sent a snapshot needs no second one, however much is written and cut off the log meanwhile.
func TestLogStaysForWhoIsSentASnapshot(t *testing.T) {
	leader := group(t, 2, raftstore.Config{Trailing: 5})[0]
	leader.fill(t, 4)
	if err := leader.Snapshot(); err != nil {
		t.Fatal(err)
	}
	joiner := start(t, raftstore.Config{Dir: t.TempDir(), ID: "n3"})
	v := &valve{limit: 1 << 20, reached: make(chan struct{}, 1), open: make(chan struct{})}
	joiner.layer.mu.Lock()
	joiner.layer.slow = v
	joiner.layer.mu.Unlock()
	if err := leader.AddNonvoter(t.Context(), "n3", joiner.layer.Addr().String()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-v.reached: // in the middle of the snapshot
	case <-time.After(patience):
		t.Fatal("no snapshot is sent")
	}
	for i := range 50 {
		leader.mustWrite(t, fmt.Sprint("meanwhile-", i))
	}
	if err := leader.Snapshot(); err != nil {
		t.Fatal(err)
	}
	before := joiner.Progress()
	close(v.open)
	joiner.await(t, "meanwhile-49")
	if got := joiner.Progress() - before; got > 5<<20 {
		t.Errorf("%d bytes of snapshots were received, of a state of 4 MB", got)
	}
}

// catchUp waits until the joiner has what the leader had committed when this was called.
func catchUp(t testing.TB, leader, joiner *member) {
	t.Helper()
	want := leader.store.Index()
	deadline := time.NewTimer(5 * time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for joiner.store.Index() < want {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("the joiner is at %d of %d", joiner.store.Index(), want)
		}
	}
}
