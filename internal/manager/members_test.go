package manager

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/raftstore"
	"shoal/internal/store"
	"shoal/internal/store/storetest"
)

// crew is a Raft group whose first server leads.
type crew struct {
	mu      sync.Mutex
	servers []raftstore.Server
}

func (c *crew) Servers() []raftstore.Server {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.servers)
}

func (c *crew) Remove(_ context.Context, id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := raftstore.Quorum(c.servers, id); err != nil {
		return err
	}
	c.servers = slices.DeleteFunc(c.servers, func(s raftstore.Server) bool { return s.ID == id })
	return nil
}

func (c *crew) Transfer() error { return nil }

func (c *crew) join(r *rig, id string) {
	r.node(id, func(n *cluster.Node) { n.Spec.Role = swarm.NodeRoleManager })
	c.mu.Lock()
	defer c.mu.Unlock()
	c.servers = append(c.servers, raftstore.Server{ID: id, Voter: true, Reachable: true, Leader: len(c.servers) == 0})
}

func (c *crew) silence(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.servers, func(s raftstore.Server) bool { return s.ID == id })
	c.servers[i].Reachable, c.servers[i].LastContact = false, time.Now()
}

func (c *crew) ids() (ids []string) {
	for _, s := range c.Servers() {
		ids = append(ids, s.ID)
	}
	return ids
}

// crewed runs f beside the upkeep of three managers a, b and c, in a swarm with those labels.
func crewed(t *testing.T, labels map[string]string, f func(r *rig, c *crew)) {
	synctest.Test(t, func(t *testing.T) {
		r, c := &rig{t: t, s: store.New()}, &crew{}
		r.s.Lead(storetest.Proposer{Store: r.s})
		r.update(func(tx *store.Tx) {
			swarmed := new(cluster.Cluster)
			swarmed.ID, swarmed.Spec.Labels = "cluster", labels
			store.Clusters.Put(tx, swarmed)
		})
		for _, id := range []string{"a", "b", "c"} {
			c.join(r, id)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- Members(ctx, MembersConfig{Store: r.s, Group: c, Self: "a"}) }()
		f(r, c)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		r.s.Follow()
	})
}

func TestDeadManagerIsReplaced(t *testing.T) {
	crewed(t, map[string]string{cluster.CleanupLabel: "10m"}, func(r *rig, c *crew) {
		c.silence("b")
		r.wait(time.Hour)
		if got := c.ids(); len(got) != 3 {
			t.Fatalf("two managers of three are left to themselves: %v", got)
		}
		c.join(r, "d")
		r.wait(2 * time.Minute)
		if got := c.ids(); !slices.Equal(got, []string{"a", "c", "d"}) {
			t.Fatalf("managers: %v", got)
		}
		if b := store.Nodes.Get(r.s.View(), "b"); b.Spec.Role != swarm.NodeRoleWorker || b.ManagerStatus != nil {
			t.Errorf("the dead manager: %+v", b.Spec)
		}
	})
}

func TestSilenceMustLast(t *testing.T) {
	crewed(t, map[string]string{cluster.CleanupLabel: "10m"}, func(r *rig, c *crew) {
		c.join(r, "d")
		c.silence("b")
		r.wait(9 * time.Minute)
		if got := c.ids(); len(got) != 4 {
			t.Fatalf("after nine minutes of ten: %v", got)
		}
		r.wait(2 * time.Minute)
		if got := c.ids(); !slices.Equal(got, []string{"a", "c", "d"}) {
			t.Fatalf("after eleven: %v", got)
		}
	})
}

func TestCleanupIsOffByDefault(t *testing.T) {
	crewed(t, nil, func(r *rig, c *crew) {
		c.join(r, "d")
		c.silence("b")
		r.wait(24 * time.Hour)
		if got := c.ids(); len(got) != 4 {
			t.Errorf("managers: %v", got)
		}
		r.update(func(tx *store.Tx) {
			next := *store.ClusterOf(tx)
			next.Spec.Labels = map[string]string{cluster.CleanupLabel: "1h"}
			store.Clusters.Put(tx, &next)
		})
		if got := c.ids(); len(got) != 3 {
			t.Errorf("turned on: %v", got)
		}
	})
}
