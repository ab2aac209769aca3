package bench

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"
)

var stateSize = flag.Int("state", 1024, "megabytes that the managers hold when another one joins them (BigState)")

const (
	blobSize   = 500 << 10 // of one config
	fillers    = 4         // clients that write configs at once
	peaceTime  = 10 * time.Second
	joinTime   = 10 * time.Minute
	memoryTick = 200 * time.Millisecond
)

// BenchmarkBigState fills three managers with configs of 500 KB, then lets a fourth one join by `swarm join`, and makes a manager of
// a worker; each is sent the newest snapshot and the log since. It reports how long each took until the new manager had everything
// and its vote, what a client's writes took meanwhile beside those in peace, and what memory leader and newcomer came to.
func BenchmarkBigState(b *testing.B) {
	for b.Loop() {
		bigState(b)
	}
	b.ReportMetric(0, "ns/op")
}

func bigState(b *testing.B) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	nodes := bootAll(b, ctx, shoal, 5)
	defer nodes[0].end()
	leader := nodes[0]
	leader.swarm(b, ctx)
	for _, n := range nodes[1:3] {
		must(b, n.join(ctx, leader, true))
	}
	worker := nodes[4]
	must(b, worker.join(ctx, leader, false))
	must(b, leader.api.awaitNodes(ctx, 4))
	leader.reportResident(b, "leader, empty")

	began := time.Now()
	must(b, leader.fill(ctx, *stateSize<<20/blobSize))
	b.Logf("%d MB written in %v", *stateSize, time.Since(began).Round(time.Second))
	leader.reportResident(b, "leader, full")

	b.Logf("in peace: %s", leader.during(b, ctx, func() { pause(ctx, peaceTime) }))
	joiner := nodes[3]
	var took time.Duration
	during := leader.during(b, ctx, func() {
		end := watchMemory(b, map[string]*node{"leader": leader, "joiner": joiner})
		took = timed(func() { must(b, joiner.join(ctx, leader, true)) })
		end()
	})
	b.Logf("a manager joined in %v: %s", took.Round(10*time.Millisecond), during)
	b.ReportMetric(took.Seconds(), "join-s")

	during = leader.during(b, ctx, func() {
		end := watchMemory(b, map[string]*node{"leader": leader, "newcomer": worker})
		took = timed(func() { must(b, worker.promote(ctx, leader)) })
		end()
	})
	b.Logf("a worker became a manager in %v: %s", took.Round(10*time.Millisecond), during)
	b.ReportMetric(took.Seconds(), "promote-s")
}

func timed(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// fill writes so many configs of noise, which nothing can make smaller.
func (n *node) fill(ctx context.Context, configs int) error {
	work, fail := make(chan int), make(chan error, fillers)
	var wg sync.WaitGroup
	for i := range fillers {
		wg.Go(func() {
			noise := rand.NewChaCha8([32]byte{byte(i)})
			for k := range work {
				data := make([]byte, blobSize)
				noise.Read(data)
				err := n.config(ctx, fmt.Sprint("fill-", k), data)
				for ; err != nil && strings.Contains(err.Error(), "503"); err = n.config(ctx, fmt.Sprint("fill-", k), data) {
					pause(ctx, lookEvery) // the disk was so busy that the lead was lost
				}
				if err != nil && !strings.Contains(err.Error(), "409") { // an earlier try got through, and its answer was lost
					fail <- err
					return
				}
			}
		})
	}
	var err error
	for k := range configs {
		select {
		case work <- k:
			continue
		case err = <-fail:
		}
		break
	}
	close(work)
	wg.Wait()
	return err
}

func (n *node) config(ctx context.Context, name string, data []byte) error {
	return n.api.call(ctx, http.MethodPost, "/configs/create", swarm.ConfigSpec{Annotations: swarm.Annotations{Name: name}, Data: data}, nil)
}

// during does f while a client writes small configs, one after the other, and says how long these took.
func (n *node) during(b *testing.B, ctx context.Context, f func()) string {
	b.Helper()
	ctx, stop := context.WithCancel(ctx)
	var took []time.Duration
	var failed []error
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			began := time.Now()
			err := n.config(ctx, fmt.Sprint("write-", began.UnixNano()), []byte("x"))
			switch {
			case err == nil:
				took = append(took, time.Since(began))
			case ctx.Err() == nil:
				failed = append(failed, err)
				pause(ctx, lookEvery)
			}
		}
	})
	f()
	stop()
	wg.Wait()
	if len(failed) > 0 {
		b.Logf("%d writes failed; the first: %v", len(failed), failed[0])
	}
	if len(took) == 0 {
		return "not one write"
	}
	slices.Sort(took)
	at := func(q float64) time.Duration {
		return took[int(q*float64(len(took)-1))].Round(100 * time.Microsecond)
	}
	return fmt.Sprintf("%d writes, p50 %v, p99 %v, worst %v", len(took), at(0.5), at(0.99), at(1))
}

// promote makes a manager of the worker and waits until it has its vote.
func (n *node) promote(ctx context.Context, leader *node) error {
	id, err := n.id(ctx)
	if err != nil {
		return err
	}
	var self swarm.Node
	if err := leader.api.call(ctx, http.MethodGet, "/nodes/"+id, nil, &self); err != nil {
		return err
	}
	self.Spec.Role = swarm.NodeRoleManager
	if err := leader.api.call(ctx, http.MethodPost, fmt.Sprintf("/nodes/%s/update?version=%d", id, self.Version.Index), self.Spec, nil); err != nil {
		return err
	}
	limit, cancel := context.WithTimeout(ctx, joinTime)
	defer cancel()
	return await(limit, "the worker does not become a manager", func() bool {
		var info struct{ Swarm swarm.Info }
		err := n.api.call(limit, http.MethodGet, "/info", nil, &info)
		return err == nil && info.Swarm.ControlAvailable // true once it votes
	})
}

// resident is the daemon's resident set, and what of it is no file's.
func (n *node) resident() (rss, anonymous int64, err error) {
	all, err := n.processes()
	for _, p := range all {
		if p.name == "shoal daemon" {
			return p.RSS, p.anonymous, nil
		}
	}
	return 0, 0, err
}

func (n *node) reportResident(b *testing.B, what string) {
	b.Helper()
	rss, anonymous, err := n.resident()
	must(b, err)
	b.Logf("%s: RSS %.0f MB, of it private %.0f MB", what, mega(rss), mega(anonymous))
}

// watchMemory looks at daemons' resident sets until it is ended, and logs the most that each came to.
func watchMemory(b *testing.B, nodes map[string]*node) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	most := map[string]int64{}
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			for name, n := range nodes {
				rss, _, err := n.resident()
				if err != nil {
					b.Error(err)
				}
				most[name] = max(most[name], rss)
			}
			pause(ctx, memoryTick)
		}
	})
	return func() {
		cancel()
		wg.Wait()
		for name, bytes := range most {
			b.Logf("%s: RSS %.0f MB at most", name, mega(bytes))
		}
	}
}
