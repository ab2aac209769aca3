package raftstore_test

import (
	"fmt"
	"sync"
	"testing"

	"shoal/internal/raftstore"
)

// BenchmarkCommit is acknowledged writes with fsync, through store, Raft and log, on one voter and on three.
func BenchmarkCommit(b *testing.B) {
	for _, nodes := range []int{1, 3} {
		for _, writers := range []int{1, 64} {
			b.Run(fmt.Sprintf("nodes=%d/writers=%d", nodes, writers), func(b *testing.B) {
				leader := group(b, nodes, raftstore.Config{Seal: key(1), SegmentSize: 16 << 20})[0]
				b.ResetTimer()
				var wg sync.WaitGroup
				for w := range writers {
					wg.Go(func() {
						for i := w; i < b.N; i += writers {
							if err := leader.write(fmt.Sprintf("w%d-%d", w, i%1000)); err != nil {
								b.Error(err)
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
			})
		}
	}
}
