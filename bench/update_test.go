package bench

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/swarm"

	"shoal/test/e2e/load"
)

const (
	replaced    = 10               // tasks of the service that is updated
	leastLoad   = 30 * time.Second // how long each update is under load, at least
	leastRate   = 300              // requests a second, through all ways together
	meshPort    = 8080
	healthEvery = 2 * time.Second
	logEnd      = 4000 // bytes of each daemon's log that tell about a failure
)

// BenchmarkUpdateUnderLoad replaces ten tasks of a service on five nodes, old ones first and new ones first, while clients
// ask through the port of a node with tasks, through that of one without, and the service's own address from inside; half of
// the requests on new connections. It fails when one request fails.
func BenchmarkUpdateUnderLoad(b *testing.B) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	nodes, images := formServing(b, ctx, shoal, 3, 2, toolboxImages(b), "v1", "v2")
	defer nodes[0].end()
	api := nodes[0].api
	net, err := api.overlay(ctx, "net")
	must(b, err)
	service, err := api.make(ctx, updatedSpec(images[0], net))
	must(b, err)
	_, err = api.awaitTasks(ctx, service, replaced)
	must(b, err)
	vip, err := api.vip(ctx, service, net)
	must(b, err)
	inside, err := nodes[1].guest(ctx, images[0], "net")
	must(b, err)
	outside := nodes[0].playground.Client().Dial
	ways := []way{
		{"with a task", outside, fmt.Sprintf("http://%s:%d/", nodes[4].Address, meshPort)},
		{"without", outside, fmt.Sprintf("http://%s:%d/", nodes[0].Address, meshPort)},
		{"service's address", dialIn(inside), fmt.Sprintf("http://%s/", vip)},
	}
	next := 1
	for b.Loop() {
		for _, order := range []swarm.UpdateOrder{swarm.UpdateOrderStopFirst, swarm.UpdateOrderStartFirst} {
			image := images[next%2]
			next++
			r := underLoad(ctx, ways, leastLoad, func() {
				since := time.Now()
				must(b, api.change(ctx, service, func(s *swarm.ServiceSpec) {
					s.TaskTemplate.ContainerSpec.Image = image
					s.UpdateConfig.Order = order
				}))
				must(b, api.updated(ctx, service, since))
				b.Logf("%s: updated after %v", order, time.Since(since).Round(time.Millisecond))
			})
			rate := float64(r.Asked) / r.Took.Seconds()
			b.ReportMetric(rate, string(order)+"-requests/s")
			b.ReportMetric(float64(r.Failed), string(order)+"-failed")
			b.Logf("%s: %v", order, r)
			if r.Failed > 0 {
				b.Logf("%s", api.taskTable(ctx, service))
				for _, n := range nodes {
					log, _ := os.ReadFile(n.Log())
					b.Logf("end of the log of %s:\n%s", n.Name, log[max(0, len(log)-logEnd):])
				}
				b.Fatalf("%s: %d of %d requests failed", order, r.Failed, r.Asked)
			}
			if rate < leastRate {
				b.Errorf("%s: %.0f requests a second, want %d: this machine is too busy to tell", order, rate, leastRate)
			}
		}
	}
	b.ReportMetric(0, "ns/op")
}

// way is one that requests take.
type way struct {
	name string
	dial load.Dial
	url  string
}

// underLoad does something while requests come all ways, for least at least.
func underLoad(ctx context.Context, ways []way, least time.Duration, do func()) load.Result {
	var loads []*load.Load
	for _, w := range ways {
		loads = append(loads, load.Start(ctx, w.dial, w.url))
	}
	enough := time.NewTimer(least)
	do()
	<-enough.C
	var sum load.Result
	for i, l := range loads {
		r := l.Stop()
		sum.Asked, sum.Failed = sum.Asked+r.Asked, sum.Failed+r.Failed
		sum.Took, sum.Slowest = max(sum.Took, r.Took), max(sum.Slowest, r.Slowest)
		if r.First != nil {
			said := fmt.Errorf("%s, %d of %d: %w", ways[i].name, r.Failed, r.Asked, r.First)
			if sum.First != nil {
				said = fmt.Errorf("%w\n%w", sum.First, said)
			}
			sum.First = said
		}
	}
	return sum
}

func updatedSpec(image, network string) swarm.ServiceSpec {
	count := uint64(replaced)
	return swarm.ServiceSpec{
		Annotations: swarm.Annotations{Name: "web"},
		Mode:        swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &count}},
		TaskTemplate: swarm.TaskSpec{
			ContainerSpec: &swarm.ContainerSpec{Image: image, Healthcheck: &container.HealthConfig{
				Test: []string{"CMD", "get", "1", "http://127.0.0.1/healthz"}, Interval: healthEvery, Timeout: 10 * time.Second, Retries: 3,
			}},
			Placement: &swarm.Placement{Constraints: []string{"node.role==worker"}},
			Networks:  []swarm.NetworkAttachmentConfig{{Target: network}},
		},
		UpdateConfig: &swarm.UpdateConfig{Parallelism: 2, Monitor: 100 * time.Millisecond, Delay: 500 * time.Millisecond},
		EndpointSpec: &swarm.EndpointSpec{Ports: []swarm.PortConfig{{
			Protocol: "tcp", TargetPort: 80, PublishedPort: meshPort, PublishMode: swarm.PortConfigPublishModeIngress,
		}}},
	}
}

// taskTable says what became of a service's tasks, for who looks for a lost request.
func (e engineAPI) taskTable(ctx context.Context, service string) string {
	var out strings.Builder
	tasks, err := e.tasks(ctx, service)
	if err != nil {
		return err.Error()
	}
	for _, t := range tasks {
		fmt.Fprintf(&out, "slot %d %s on %s: %s since %s, wanted %s, made %s", t.Slot, t.ID, t.NodeID, t.Status.State,
			t.Status.Timestamp.Format(time.StampMilli), t.DesiredState, t.CreatedAt.Format(time.StampMilli))
		for _, a := range t.NetworksAttachments {
			fmt.Fprintf(&out, " %v", a.Addresses)
		}
		out.WriteByte('\n')
	}
	return out.String()
}
