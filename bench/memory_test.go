package bench

import (
	"context"
	"flag"
	"testing"
	"time"
)

// BenchmarkIdle reports what a node costs that runs nothing: the resident memory of the daemon and of its containerd, first
// of a daemon that has just started, then of a swarm of one that has pulled the sample image.
func BenchmarkIdle(b *testing.B) {
	all := subjects(b)
	for b.Loop() {
		for _, s := range all {
			measureIdle(b, s)
		}
	}
	b.ReportMetric(0, "ns/op")
}

func measureIdle(b *testing.B, s subject) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	n := boot(b, ctx, s)
	defer n.end()
	settle(ctx)
	n.reportMemory(b, s.name+"-started")
	n.swarm(b, ctx)
	settle(ctx)
	n.reportMemory(b, s.name+"-swarm")
}

// reportMemory reports daemon and containerd together, and logs each.
func (n *node) reportMemory(b *testing.B, what string) {
	b.Helper()
	all, err := n.processes()
	must(b, err)
	var sum int64
	for _, p := range all {
		if p.name == "shoal daemon" || p.name == "dockerd" || p.name == "containerd" {
			sum += p.RSS
			b.Logf("%s: %s: RSS %.1f MB, of it private and written %.1f MB", what, p.name, mega(p.RSS), mega(p.anonymous))
		}
	}
	b.ReportMetric(mega(sum), what+"-MB")
}

// idleTime is how long a daemon is left alone before its memory is read. Go collects what an idle process has left behind
// after two minutes, and then gives it back.
var idleTime = flag.Duration("idle", 150*time.Second, "how long a daemon is left alone before its memory is read")

func settle(ctx context.Context) {
	timer := time.NewTimer(*idleTime)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func mega(bytes int64) float64 { return float64(bytes) / 1e6 }

// residents of the service whose memory is measured.
const residents = 20

// BenchmarkContainer reports the proportional memory (PSS) that one more container costs outside of itself: its shim, logs
// included, and what daemon and containerd grow by, over 20 replicas of the sample image.
func BenchmarkContainer(b *testing.B) {
	all := subjects(b)
	for b.Loop() {
		for _, s := range all {
			measureContainers(b, s)
		}
	}
	b.ReportMetric(0, "ns/op")
}

func measureContainers(b *testing.B, s subject) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	n := boot(b, ctx, s)
	defer n.end()
	image := n.swarm(b, ctx)
	settle(ctx)
	before, _ := n.proportional(b)
	id, err := n.api.create(ctx, "residents", image, residents)
	must(b, err)
	_, err = n.api.awaitTasks(ctx, id, residents)
	must(b, err)
	settle(ctx)
	after, shims := n.proportional(b)
	b.ReportMetric(mega(shims)/residents, s.name+"-shim-MB")
	b.ReportMetric(mega(after-before)/residents, s.name+"-daemons-MB")
}

// proportional is the PSS of daemon and containerd, and of all shims.
func (n *node) proportional(tb testing.TB) (daemons, shims int64) {
	tb.Helper()
	all, err := n.processes()
	must(tb, err)
	for _, p := range all {
		switch p.name {
		case "shoal daemon", "dockerd", "containerd":
			daemons += p.PSS
		case "containerd-shim-shoal-v1", "containerd-shim-runc-v2", "containerd-shim":
			shims += p.PSS
		}
	}
	return daemons, shims
}
