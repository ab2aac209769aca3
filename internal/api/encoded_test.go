package api

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/moby/moby/api/types/swarm"
)

func nodesOf(n int) []swarm.Node {
	nodes := make([]swarm.Node, n)
	for i := range nodes {
		nodes[i].ID, nodes[i].Version.Index = fmt.Sprint("node", i), uint64(i+1)
		nodes[i].Description.Hostname = "a<b>&c"
		nodes[i].Spec.Labels = map[string]string{"zone": "z"}
	}
	return nodes
}

// TestEncodedNodes: a listing is what encoding it at once would give, whatever changed since the one before.
func TestEncodedNodes(t *testing.T) {
	var e encodedNodes
	check := func(nodes []swarm.Node, all bool) {
		t.Helper()
		want, err := json.Marshal(nodes)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := e.list(nodes, all); err != nil || string(got) != string(want) {
			t.Errorf("got %s, %v\nwant %s", got, err, want)
		}
	}
	check([]swarm.Node{}, true)
	nodes := nodesOf(3)
	nodes[0].ManagerStatus = &swarm.ManagerStatus{Reachability: swarm.ReachabilityReachable}
	check(nodes, true)
	nodes[0].ManagerStatus = &swarm.ManagerStatus{Reachability: swarm.ReachabilityUnreachable} // no new version
	nodes[1].Status.State, nodes[1].Version.Index = swarm.NodeStateDown, 9
	check(nodes, true)
	check(nodes[2:], false)
	if len(e.kept) != 2 {
		t.Errorf("after a listing of some, %d nodes are kept", len(e.kept))
	}
	check(nodes[:2], true)
	if len(e.kept) != 1 {
		t.Errorf("one of two nodes is a manager, and %d are kept", len(e.kept))
	}
	nodes[0].ManagerStatus, nodes[0].Version.Index = nil, 10 // demoted
	check(nodes, true)
}

func BenchmarkNodes(b *testing.B) {
	nodes := nodesOf(1000)
	b.Run("anew", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := json.Marshal(nodes); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("kept", func(b *testing.B) {
		b.ReportAllocs()
		var e encodedNodes
		for b.Loop() {
			if _, err := e.list(nodes, true); err != nil {
				b.Fatal(err)
			}
		}
	})
}
