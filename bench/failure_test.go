package bench

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"
)

// spread is how many tasks the service has whose worker fails: two on each of three nodes.
const spread = 6

// BenchmarkWorkerPowerCut takes a worker's power and waits until all of its service's tasks run elsewhere, settings as they
// come. BenchmarkWorkerCrash kills its daemon, containerd and all containers, while the machine and its network live on.
func BenchmarkWorkerPowerCut(b *testing.B) {
	failWorker(b, func(n *node) error { return n.Off() })
}

func BenchmarkWorkerCrash(b *testing.B) {
	failWorker(b, (*node).killAll)
}

func failWorker(b *testing.B, fail func(*node) error) {
	compare(b, func(s subject) time.Duration {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		nodes, image := form(b, ctx, s, 1, 2)
		defer nodes[0].end()
		service, err := nodes[0].api.create(ctx, "web", image, spread)
		must(b, err)
		_, err = nodes[0].api.awaitTasks(ctx, service, spread)
		must(b, err)
		victim := nodes[2]
		id, err := victim.id(ctx)
		must(b, err)
		began := time.Now()
		must(b, fail(victim))
		must(b, nodes[0].api.awaitElsewhere(ctx, id, spread))
		return time.Since(began)
	})
}

// killAll ends every process of the machine but its first, all in the same moment.
func (n *node) killAll() error {
	first, err := n.firstProcess()
	if err != nil {
		return err
	}
	v1, v2, err := n.groups("cpuacct")
	if err != nil {
		return err
	}
	dir := v1
	if dir == "" {
		dir = v2
	}
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.Name() != "cgroup.procs" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for word := range strings.FieldsSeq(string(text)) {
			pid, err := strconv.Atoi(word)
			if err != nil {
				return err
			}
			if pid == first {
				continue
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
				return err
			}
		}
		return nil
	})
}

// leaders is how many leaders the benchmark of their loss kills of each daemon, and bounded, since docker.io's takes minutes.
const (
	leaders       = 20
	dockerLeaders = 3
)

// BenchmarkLeaderKilled kills the daemon of the leader of three managers and waits until a write by another succeeds.
func BenchmarkLeaderKilled(b *testing.B) {
	compareAll(b, func(s subject) []time.Duration {
		rounds := leaders
		if s.name != shoal.name {
			rounds = dockerLeaders
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		nodes, _ := form(b, ctx, s, 3, 0)
		defer nodes[0].end()
		var took []time.Duration
		for round := range rounds {
			leader, other := leaderOf(b, ctx, nodes)
			began := time.Now()
			must(b, leader.killAll())
			must(b, other.writes(ctx, fmt.Sprintf("after-%d", round)))
			took = append(took, time.Since(began))
			must(b, leader.Off()) // what a killed daemon leaves is not what is timed
			must(b, leader.Boot())
			must(b, leader.favour())
			must(b, s.start(ctx, leader.playground, leader.Machine))
			must(b, other.api.awaitNodes(ctx, len(nodes)))
		}
		return took
	})
}

// leaderOf finds the leader, and another manager.
func leaderOf(tb testing.TB, ctx context.Context, nodes []*node) (leader, other *node) {
	tb.Helper()
	var all []swarm.Node
	i := -1
	must(tb, await(ctx, "no node leads", func() bool {
		err := nodes[0].api.call(ctx, http.MethodGet, "/nodes", nil, &all)
		i = slices.IndexFunc(all, func(n swarm.Node) bool { return n.ManagerStatus != nil && n.ManagerStatus.Leader })
		return err == nil && i >= 0
	}))
	for _, n := range nodes {
		id, err := n.id(ctx)
		must(tb, err)
		if id == all[i].ID {
			leader = n
		} else {
			other = n
		}
	}
	return leader, other
}

// writes tries to make a config until that is acknowledged.
func (n *node) writes(ctx context.Context, name string) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		try, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := n.api.call(try, http.MethodPost, "/configs/create", swarm.ConfigSpec{Annotations: swarm.Annotations{Name: name}, Data: []byte("x")}, nil)
		cancel()
		if err == nil || strings.Contains(err.Error(), "409") { // an earlier try got through, and its answer was lost
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

// BenchmarkJoin times a worker's joining, from the call until the manager says that it is ready.
func BenchmarkJoin(b *testing.B) {
	compare(b, func(s subject) time.Duration {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		nodes := bootAll(b, ctx, s, 2)
		defer nodes[0].end()
		nodes[0].swarm(b, ctx)
		began := time.Now()
		must(b, nodes[1].join(ctx, nodes[0], false))
		must(b, nodes[0].api.awaitNodes(ctx, 2))
		return time.Since(began)
	})
}

// idlePeriod is how long the managers of an idle cluster are watched.
const idlePeriod = time.Minute

// BenchmarkIdleCluster reports the processor time that the busiest manager of an idle cluster of three managers and two
// workers takes, daemon and containerd, in per cent of one processor.
func BenchmarkIdleCluster(b *testing.B) {
	for b.Loop() {
		for _, s := range subjects(b) {
			b.ReportMetric(100*idleShare(b, s), s.name+"-%")
		}
	}
	b.ReportMetric(0, "ns/op")
}

func idleShare(b *testing.B, s subject) float64 {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	nodes, _ := form(b, ctx, s, 3, 2)
	defer nodes[0].end()
	quiet, done := context.WithTimeout(ctx, idlePeriod/4)
	<-quiet.Done() // until joining is over
	done()
	before := make([]use, 3)
	for i := range before {
		before[i] = nodes[i].use(b)
	}
	watch, done := context.WithTimeout(ctx, idlePeriod)
	<-watch.Done()
	done()
	most := time.Duration(0)
	for i := range before {
		after := nodes[i].use(b)
		most = max(most, after.daemon+after.containerd-before[i].daemon-before[i].containerd)
	}
	return most.Seconds() / idlePeriod.Seconds()
}

// compare times each subject once a round and reports the medians, and Shoal's part of docker.io's time.
func compare(b *testing.B, measure func(subject) time.Duration) {
	compareAll(b, func(s subject) []time.Duration { return []time.Duration{measure(s)} })
}

func compareAll(b *testing.B, measure func(subject) []time.Duration) {
	all := subjects(b)
	took := map[string][]time.Duration{}
	for b.Loop() {
		for _, s := range all {
			times := measure(s)
			b.Logf("%s: %v", s.name, times)
			took[s.name] = append(took[s.name], times...)
		}
	}
	for name, times := range took {
		b.ReportMetric(median(times).Seconds(), name+"-s")
		b.ReportMetric(slices.Max(times).Seconds(), name+"-worst-s")
	}
	if d := took["docker.io"]; len(d) > 0 {
		b.ReportMetric(median(took[shoal.name]).Seconds()/median(d).Seconds(), "ratio")
	}
	b.ReportMetric(0, "ns/op")
}
