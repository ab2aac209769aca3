package dispatch

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"shoal/internal/cluster"
	"shoal/internal/store"
	"shoal/internal/store/storetest"
)

func TestRings(t *testing.T) {
	s := storetest.New(t)
	key := func(network string, generation uint64, public string) cluster.OwnKey {
		return cluster.OwnKey{NetworkID: network, Generation: generation, Public: public, Port: 7}
	}
	storetest.Update(t, s, func(tx *store.Tx) {
		for id, keys := range map[string][]cluster.OwnKey{
			"a": {key("net", 1, "a1"), key("net", 2, "a2"), key("other", 1, "o")},
			"b": {key("net", 1, "b1")},
			"c": nil,
		} {
			n := &cluster.Node{Keys: keys}
			n.ID = id
			store.Nodes.Put(tx, n)
		}
		for id, keys := range map[string]*cluster.KeyChange{"net": {Sends: 2, Other: 1}, "plain": nil} {
			n := &cluster.Network{VNI: 4097, Keys: keys}
			n.ID = id
			store.Networks.Put(tx, n)
		}
	})
	got := Link(s.View(), "net")
	want := []cluster.Ring{
		{Generation: 1, Keys: []cluster.NodeKey{{NodeID: "a", Public: "a1", Port: 7}, {NodeID: "b", Public: "b1", Port: 7}}},
		{Generation: 2, Keys: []cluster.NodeKey{{NodeID: "a", Public: "a2", Port: 7}}},
	}
	if diff := cmp.Diff(want, got.Rings); diff != "" || !got.Encrypted || got.Sends != 2 {
		t.Errorf("%+v: %s", got, diff)
	}
	if plain := Link(s.View(), "plain"); plain.Encrypted || plain.Rings != nil || plain.Sends != 0 {
		t.Errorf("a plain network: %+v", plain)
	}
}

// TestKeysTouch: the networks whose keys a node has changed are told anew, and no others.
func TestKeysTouch(t *testing.T) {
	node := func(keys ...cluster.OwnKey) *cluster.Node { return &cluster.Node{Keys: keys} }
	one, two := cluster.OwnKey{NetworkID: "n1", Generation: 1}, cluster.OwnKey{NetworkID: "n2", Generation: 1}
	next := cluster.OwnKey{NetworkID: "n2", Generation: 2}
	for _, test := range []struct {
		name     string
		old, now *cluster.Node
		want     map[string]bool
	}{
		{"the same", node(one, two), node(one, two), nil},
		{"one more", node(one, two), node(one, two, next), map[string]bool{"n2": true}},
		{"one less", node(one, two), node(two), map[string]bool{"n1": true}},
		{"the node goes", node(one, two), nil, map[string]bool{"n1": true, "n2": true}},
		{"the node comes", nil, node(one), map[string]bool{"n1": true}},
	} {
		touched := newTouched()
		touched.keyed(test.old, test.now)
		if diff := cmp.Diff(test.want, touched.networks); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
}
