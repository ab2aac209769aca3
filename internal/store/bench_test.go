package store_test

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
	"shoal/internal/store/storetest"
)

// realistic is a task as one of a hundred thousand is.
func realistic(i int) *cluster.Task {
	t := task(fmt.Sprintf("%025d", i*7919%1_000_003), fmt.Sprintf("service%02d", i%10))
	t.SpecID, t.NodeID, t.Slot = "spec0123456789012345", fmt.Sprintf("node%04d", i%1000), i
	t.Attachments = []cluster.Attachment{{NetworkID: "ingress", Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.7/24")}}}
	t.Status = swarm.TaskStatus{State: swarm.TaskStateAssigned, Timestamp: time.Unix(1_800_000_000, 0).UTC(), Message: "assigned"}
	return t
}

func BenchmarkUpdateSerial(b *testing.B) { benchmarkUpdate(b, 1) }

func BenchmarkUpdate64Writers(b *testing.B) { benchmarkUpdate(b, 64) }

func benchmarkUpdate(b *testing.B, writers int) {
	s := storetest.New(b)
	b.ReportAllocs()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := w; i < b.N; i += writers {
				_, err := s.Update(context.Background(), func(tx *store.Tx) error {
					store.Tasks.Put(tx, realistic(i%100_000))
					return nil
				})
				if err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// entries writes 100,000 tasks, each twice (made, then running), in transactions of that many changes.
func entries(tb testing.TB, size int) [][]byte {
	const tasks = 100_000
	s := store.New()
	r := &recorder{stores: []*store.Store{s}}
	s.Lead(r)
	defer s.Follow()
	for round := range 2 {
		for first := 0; first < tasks; first += size {
			storetest.Update(tb, s, func(tx *store.Tx) {
				for i := first; i < first+size; i++ {
					t := realistic(i)
					if round == 1 {
						t.Status.State = swarm.TaskStateRunning
					}
					store.Tasks.Put(tx, t)
				}
			})
		}
	}
	return r.entries
}

// BenchmarkApply100kTasks is what a follower does; ns/write is the figure to look at.
func BenchmarkApply100kTasks(b *testing.B) {
	for _, size := range []int{1, 1000} {
		b.Run(fmt.Sprint("tx=", size), func(b *testing.B) {
			log := entries(b, size)
			b.ReportAllocs()
			for b.Loop() {
				s := store.New()
				for _, entry := range log {
					if err := s.Apply(entry); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/200_000, "ns/write")
		})
	}
}

// BenchmarkLead100kTasks is what the leader does for the same: make, encode, apply.
func BenchmarkLead100kTasks(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		entries(b, 1000)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/200_000, "ns/write")
}

func BenchmarkBy(b *testing.B) {
	s := storetest.New(b)
	storetest.Update(b, s, func(tx *store.Tx) {
		for i := range 100_000 {
			store.Tasks.Put(tx, realistic(i))
		}
	})
	v := s.View()
	for b.Loop() {
		n := 0
		for range store.Tasks.By(v, store.TaskService, "service03") {
			n++
		}
		if n != 10_000 {
			b.Fatal(n)
		}
	}
}

func BenchmarkSnapshot100kTasks(b *testing.B) {
	s := storetest.New(b)
	storetest.Update(b, s, func(tx *store.Tx) {
		for i := range 100_000 {
			store.Tasks.Put(tx, realistic(i))
		}
	})
	for b.Loop() {
		var buf bytes.Buffer
		if _, err := s.Snapshot().WriteTo(&buf); err != nil {
			b.Fatal(err)
		}
		if err := store.New().Restore(&buf); err != nil {
			b.Fatal(err)
		}
	}
}
