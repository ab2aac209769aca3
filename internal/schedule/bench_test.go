package schedule

import (
	"fmt"
	"runtime"
	"slices"
	"testing"

	"shoal/internal/cluster"
)

func BenchmarkPlace100k(b *testing.B) { benchmarkPlace(b, 100_000, 100, 5_000) }

func BenchmarkPlace1M(b *testing.B) { benchmarkPlace(b, 1_000_000, 1_000, 100_000) }

// benchmarkPlace places tasks of services that each have one of ten constraints and a preference, on empty nodes.
func benchmarkPlace(b *testing.B, tasks, services, nodes int) {
	var all []*cluster.Node
	for i := range nodes {
		all = append(all, node(fmt.Sprintf("n%06d", i), label("zone", fmt.Sprint(i%10)), label("rack", fmt.Sprint(i/10%20)), func(n *cluster.Node) {
			n.Description.Resources.NanoCPUs = 64e9
		}))
	}
	groups := make([]Group, services)
	for i := range groups {
		s := spec(constrain(fmt.Sprintf("node.labels.zone != %d", i%10)), func(s *cluster.Spec) {
			if i%2 == 0 {
				spreadOver("node.labels.rack")(s)
			}
		})
		groups[i] = Group{Spec: s, ServiceID: fmt.Sprint("svc", i), Tasks: pending(fmt.Sprint("svc", i), tasks/services)}
	}
	b.ReportAllocs()
	b.ResetTimer()
	var peak uint64
	for range b.N {
		state := NewNodes(all, slices.Values([]*cluster.Task(nil)), nil, epoch)
		for _, g := range groups {
			if _, refused := Place(g, state); len(refused) > 0 {
				b.Fatal(refused[0].Reason)
			}
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		peak = max(peak, m.Sys-m.HeapReleased)
	}
	b.ReportMetric(float64(tasks), "tasks")
	b.ReportMetric(float64(peak)/(1<<20), "MB-from-the-system") // nodes and tasks themselves included
}
