package daemon

import (
	"slices"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/raftstore"
	"shoal/internal/rpc"
	"shoal/internal/store"
)

// patience bounds every wait of these tests; none comes near it unless something is broken.
const patience = time.Minute

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("still not so: %s", what)
		}
	}
}

// joined is another node of n's swarm.
func (n *node) joined(t *testing.T, manager bool) *node {
	t.Helper()
	tokens := store.ClusterOf(n.managing.store.View()).JoinTokens
	other, addr := testNode(t), freeAddr(t)
	req := swarm.JoinRequest{ListenAddr: addr, AdvertiseAddr: addr, RemoteAddrs: []string{n.member.Advertise.String()}, JoinToken: tokens.Worker}
	if manager {
		req.JoinToken = tokens.Manager
	}
	if err := other.Join(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	return other
}

func (n *node) give(t *testing.T, id string, role swarm.NodeRole) {
	t.Helper()
	_, err := n.managing.store.Update(t.Context(), func(tx *store.Tx) error {
		next := *store.Nodes.Get(tx, id)
		next.Spec.Role = role
		store.Nodes.Put(tx, &next)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// member is what n's Raft group says of a node; nil: it is none.
func (n *node) memberOf(id string) *raftstore.Server {
	list := n.managing.raft.Servers()
	if i := slices.IndexFunc(list, func(s raftstore.Server) bool { return s.ID == id }); i >= 0 {
		return &list[i]
	}
	return nil
}

func votes(s *raftstore.Server) bool { return s != nil && s.Voter && s.Reachable }

// A daemon that is killed when it has a manager's certificate and no vote yet asks for it when it is back.
func TestManagerKilledBeforeItVotes(t *testing.T) {
	t.Parallel()
	first, addr := testNode(t), freeAddr(t)
	if _, err := first.Init(t.Context(), swarm.InitRequest{ListenAddr: addr, AdvertiseAddr: addr}); err != nil {
		t.Fatal(err)
	}
	n := first.joined(t, false)
	id := n.member.NodeID
	if err := n.close(); err != nil {
		t.Fatal(err)
	}
	first.give(t, id, swarm.NodeRoleManager)
	client, err := rpc.Dial(t.Context(), n.identity, first.member.Advertise.String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	bundle, err := rpc.Renew(t.Context(), client, n.identity)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.saveBundle(bundle); err != nil {
		t.Fatal(err)
	}
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the manager has its vote", func() bool { return votes(first.memberOf(id)) })
}

// A manager that was made a worker and a manager again while it was down votes in its own log, and nobody sends it anything.
func TestManagerDemotedAndPromotedWhileDown(t *testing.T) {
	t.Parallel()
	first, addr := testNode(t), freeAddr(t)
	if _, err := first.Init(t.Context(), swarm.InitRequest{ListenAddr: addr, AdvertiseAddr: addr}); err != nil {
		t.Fatal(err)
	}
	first.joined(t, true)
	n := first.joined(t, true)
	id := n.member.NodeID
	if err := n.close(); err != nil {
		t.Fatal(err)
	}
	first.give(t, id, swarm.NodeRoleWorker)
	eventually(t, "it is out of the group", func() bool { return first.memberOf(id) == nil })
	first.give(t, id, swarm.NodeRoleManager)
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it votes again", func() bool { return votes(first.memberOf(id)) })
}
