package manager

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
	"shoal/internal/store/storetest"
)

func TestTurn(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	key := func(generations ...uint64) (list []cluster.OwnKey) {
		for _, g := range generations {
			list = append(list, cluster.OwnKey{NetworkID: "net", Generation: g, Public: "k"})
		}
		return list
	}
	node := func(state swarm.NodeState, index uint64, keys []cluster.OwnKey) *cluster.Node {
		n := &cluster.Node{Keys: keys}
		n.Status.State, n.Version.Index = state, index
		return n
	}
	const up, down = swarm.NodeStateReady, swarm.NodeStateDown
	due := at(12 * time.Hour)
	making := cluster.KeyChange{Sends: 1, Other: 2, Moved: start}
	made := cluster.KeyChange{Sends: 1, Other: 2, Moved: start, Ready: at(time.Second)}
	leaving := cluster.KeyChange{Sends: 2, Other: 1, Moved: start}
	for _, test := range []struct {
		name    string
		have    cluster.KeyChange
		nodes   []*cluster.Node
		applied uint64
		now     time.Time
		want    *cluster.KeyChange
	}{
		{"not due", cluster.KeyChange{Sends: 1, Due: due}, nil, 9, at(time.Hour), nil},
		{"due", cluster.KeyChange{Sends: 1, Due: due}, nil, 9, due, &cluster.KeyChange{Sends: 1, Other: 2, Moved: due, Due: due}},
		{"a node has no new key", making, []*cluster.Node{node(up, 4, key(1, 2)), node(up, 4, key(1))}, 9, at(time.Second), nil},
		{"keys not everywhere", making, []*cluster.Node{node(up, 6, key(1, 2))}, 5, at(time.Second), nil},
		{"the network's change not everywhere", making, []*cluster.Node{node(up, 4, key(1, 2))}, 4, at(time.Second), nil},
		{"all have all keys", making, []*cluster.Node{node(up, 6, key(1, 2)), node(up, 3, nil)}, 6, at(time.Second), &made},
		{"a node that is down is not waited for", making, []*cluster.Node{node(up, 6, key(1, 2)), node(down, 3, key(1))}, 6, at(time.Second), &made},
		{"given up", making, []*cluster.Node{node(up, 4, key(1))}, 9, at(keyPatience), &cluster.KeyChange{Sends: 1, Moved: at(keyPatience), Due: at(keyPatience + keyAgain)}},
		{"settling", made, []*cluster.Node{node(up, 6, key(1, 2))}, 6, at(keySettle), nil},
		{"settled", made, []*cluster.Node{node(up, 6, key(1, 2))}, 6, at(keySettle + time.Second), &cluster.KeyChange{Sends: 2, Other: 1, Moved: at(keySettle + time.Second)}},
		{"a node sends by the old one", leaving, nil, 4, at(time.Hour), nil},
		{"packets on their way", leaving, nil, 5, at(time.Second), nil},
		{"over", leaving, nil, 5, at(keySettle), &cluster.KeyChange{Sends: 2, Moved: at(keySettle), Due: at(keySettle + cluster.DefaultKeyPeriod)}},
	} {
		n := &cluster.Network{Keys: &test.have}
		n.ID, n.Version.Index = "net", 5
		got, wake := turn(n, test.nodes, test.applied, test.now)
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
		if got == nil && !wake.After(test.now) {
			t.Errorf("%s: to be looked at again at %s, which is past", test.name, wake)
		}
	}
}

// TestKeys: the keys change by themselves with nodes that do as they are told, and no generation is ever sent by that a
// node has no key of.
func TestKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := store.New()
		s.Lead(storetest.Proposer{Store: s})
		ctx, cancel := context.WithCancel(t.Context())
		update := func(f func(tx *store.Tx)) {
			if _, err := s.Update(ctx, func(tx *store.Tx) error { f(tx); return nil }); err != nil {
				t.Error(err)
			}
		}
		update(func(tx *store.Tx) {
			for _, id := range []string{"a", "b"} {
				n := &cluster.Node{Keys: []cluster.OwnKey{{NetworkID: "net", Generation: 1}}}
				n.ID, n.Status.State = id, swarm.NodeStateReady
				store.Nodes.Put(tx, n)
			}
			n := &cluster.Network{Keys: &cluster.KeyChange{Sends: 1, Due: tx.Now().Add(time.Hour)}}
			n.ID, n.Spec.Name = "net", "net"
			store.Networks.Put(tx, n)
		})
		done := make(chan error, 1)
		go func() {
			done <- Keys(ctx, KeysConfig{Store: s, Applied: s.Index, Moved: func() <-chan struct{} { return nil }})
		}()
		most := uint64(0)
		end := time.Now().Add(30 * time.Hour)
		for time.Now().Before(end) {
			<-time.After(time.Second)
			synctest.Wait()
			n := store.Networks.Get(s.View(), "net")
			most = max(most, n.Keys.Sends)
			for node := range store.Nodes.All(s.View()) {
				if !hasKey(node, "net", n.Keys.Sends) {
					t.Fatalf("generation %d is sent by, and node %s has no key of it", n.Keys.Sends, node.ID)
				}
				keys := []cluster.OwnKey{{NetworkID: "net", Generation: n.Keys.Sends}}
				if n.Keys.Other != 0 {
					keys = append(keys, cluster.OwnKey{NetworkID: "net", Generation: n.Keys.Other})
				}
				if len(keys) != len(node.Keys) {
					changed := *node
					changed.Keys = keys
					update(func(tx *store.Tx) { store.Nodes.Put(tx, &changed) })
				}
			}
		}
		if n := store.Networks.Get(s.View(), "net"); n.Keys.Sends != 4 || n.Keys.Other != 0 {
			t.Errorf("after 30 hours: %+v, want generation 4: after an hour, and every twelve", n.Keys)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		s.Follow()
	})
}
