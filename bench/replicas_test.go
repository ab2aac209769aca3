package bench

import (
	"context"
	"os"
	"testing"
	"time"
)

// replicas of the service that is timed.
const replicas = 50

// BenchmarkReplicas creates a service of 50 replicas and waits until all run, on each daemon in turn, each time on a fresh
// machine. It reports the medians of its rounds (-benchtime 3x: three) and Shoal's part of docker.io's time.
func BenchmarkReplicas(b *testing.B) {
	compare(b, func(s subject) time.Duration { return timeReplicas(b, s) })
}

func timeReplicas(b *testing.B, s subject) time.Duration {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	n := boot(b, ctx, s)
	defer n.end()
	image := n.swarm(b, ctx)
	load, err := os.ReadFile("/proc/loadavg")
	must(b, err)
	before := n.use(b)
	began := time.Now()
	id, err := n.api.create(ctx, "fifty", image, replicas)
	must(b, err)
	_, err = n.api.awaitTasks(ctx, id, replicas)
	must(b, err)
	took := time.Since(began)
	after := n.use(b)
	b.Logf("%s: %d tasks in %.2f s; processor time %.2f s: daemon %.2f, containerd %.2f, all else %.2f; load average before: %.4s",
		s.name, replicas, took.Seconds(), (after.all - before.all).Seconds(), (after.daemon - before.daemon).Seconds(),
		(after.containerd - before.containerd).Seconds(), (after.rest() - before.rest()).Seconds(), load)
	return took
}
