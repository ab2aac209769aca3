package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cli/playground"
)

// form boots machines and makes one swarm of them, the first ones its managers, with the sample image on each. It returns
// the image's pinned reference.
func form(tb testing.TB, ctx context.Context, s subject, managers, workers int) (nodes []*node, image string) {
	tb.Helper()
	nodes, images := unite(tb, ctx, bootAll(tb, ctx, s, managers+workers), managers, "v1")
	return nodes, images[0]
}

// formServing is form with a registry of the caller's, and several tags of the image.
func formServing(
	tb testing.TB, ctx context.Context, s subject, managers, workers int, registry func(context.Context, *playground.Playground) error, tags ...string,
) ([]*node, []string) {
	tb.Helper()
	return unite(tb, ctx, bootServing(tb, ctx, s, managers+workers, registry), managers, tags...)
}

func unite(tb testing.TB, ctx context.Context, nodes []*node, managers int, tags ...string) (_ []*node, images []string) {
	tb.Helper()
	nodes[0].begin(tb, ctx)
	for i, n := range nodes {
		if i > 0 {
			must(tb, n.join(ctx, nodes[0], i < managers))
		}
		images = nil
		for _, tag := range tags {
			image, err := n.api.pull(ctx, n.registry+"/web", tag)
			must(tb, err)
			images = append(images, image)
		}
	}
	must(tb, nodes[0].api.awaitNodes(ctx, len(nodes)))
	return nodes, images
}

// join makes the node a member of first's swarm.
func (n *node) join(ctx context.Context, first *node, manager bool) error {
	var sw swarm.Swarm
	if err := first.api.call(ctx, http.MethodGet, "/swarm", nil, &sw); err != nil {
		return err
	}
	token := sw.JoinTokens.Worker
	if manager {
		token = sw.JoinTokens.Manager
	}
	return n.api.call(ctx, http.MethodPost, "/swarm/join", swarm.JoinRequest{
		ListenAddr: "0.0.0.0:2377", AdvertiseAddr: n.Address.String(), RemoteAddrs: []string{first.Address.String() + ":2377"}, JoinToken: token,
	}, nil)
}

// awaitNodes waits until so many nodes are ready and every manager is reachable.
func (e engineAPI) awaitNodes(ctx context.Context, want int) error {
	limit, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return await(limit, "not all nodes are ready", func() bool {
		var nodes []swarm.Node
		ready := 0
		err := e.call(limit, http.MethodGet, "/nodes", nil, &nodes)
		for _, n := range nodes {
			reachable := n.ManagerStatus == nil || n.ManagerStatus.Reachability == swarm.ReachabilityReachable
			if n.Status.State == swarm.NodeStateReady && reachable {
				ready++
			}
		}
		return err == nil && ready == want
	})
}

// id is the node's own ID in its swarm.
func (n *node) id(ctx context.Context) (string, error) {
	var info struct{ Swarm swarm.Info }
	err := n.api.call(ctx, http.MethodGet, "/info", nil, &info)
	return info.Swarm.NodeID, err
}

// awaitElsewhere waits until so many tasks run on other nodes than one.
func (e engineAPI) awaitElsewhere(ctx context.Context, not string, want int) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		var tasks []swarm.Task
		running := 0
		err := e.call(ctx, http.MethodGet, "/tasks?filters="+url.QueryEscape(`{"desired-state":["running"]}`), nil, &tasks)
		for _, t := range tasks {
			if t.Status.State == swarm.TaskStateRunning && t.NodeID != not {
				running++
			}
		}
		if err == nil && running >= want {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%w: %d of %d tasks run elsewhere", context.Cause(ctx), running, want), err)
		case <-tick.C:
		}
	}
}
