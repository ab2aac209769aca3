package rpc

import (
	"errors"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/ca"
	"shoal/internal/store"
	"shoal/internal/store/storetest"
)

func TestMove(t *testing.T) {
	leader := newRig(t)
	follower := startManager(t, leader.store, leader.root, "m2")
	follower.group.follows.Store("m1")
	manager := leader.node(t, "m3", swarm.NodeRoleManager)
	storetest.Update(t, leader.store, func(tx *store.Tx) {
		n := *store.Nodes.Get(tx, "m3")
		n.ManagerStatus = &swarm.ManagerStatus{Addr: "10.0.0.3:2377"}
		store.Nodes.Put(tx, &n)
	})
	move := func(who *ca.Identity, addr string, request MoveRequest) error {
		t.Helper()
		c, err := Dial(t.Context(), who, addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.Move(t.Context(), &request)
	}
	// Through a follower, which looks for it at the new address from then on.
	if err := move(manager, follower.addr, MoveRequest{"10.0.0.9:2377", "10.1.0.9"}); err != nil {
		t.Fatal(err)
	}
	n := store.Nodes.Get(leader.store.View(), "m3")
	if n.ManagerStatus.Addr != "10.0.0.9:2377" || n.Status.Addr != "10.0.0.9" || n.DataAddr.String() != "10.1.0.9" {
		t.Errorf("stored: %+v, %s, %s", n.ManagerStatus, n.Status.Addr, n.DataAddr)
	}
	if got := <-leader.group.added; got != "move m3 10.0.0.9:2377" {
		t.Errorf("Raft was told %q", got)
	}
	for _, r := range []*rig{leader, follower} {
		if got := <-r.moved; got != "m3 10.0.0.9:2377" {
			t.Errorf("heard: %q", got)
		}
	}
	// A worker has no part in Raft.
	if err := move(leader.node(t, "w1", swarm.NodeRoleWorker), leader.addr, MoveRequest{"10.0.0.8:2377", "10.0.0.8"}); err != nil {
		t.Fatal(err)
	}
	if n := store.Nodes.Get(leader.store.View(), "w1"); n.Status.Addr != "10.0.0.8" || n.ManagerStatus != nil {
		t.Errorf("stored of a worker: %+v, %+v", n.Status, n.ManagerStatus)
	}
	if len(leader.group.added)+len(leader.moved) != 0 {
		t.Errorf("a worker moved in Raft")
	}
	// Without a leader it is heard all the same, since the one that is missing may be the one that moves.
	follower.group.follows.Store("m4")
	if err := move(manager, follower.addr, MoveRequest{"10.0.0.7:2377", "10.0.0.7"}); !errors.Is(err, errdefs.ErrUnavailable) {
		t.Errorf("without a leader: %v", err)
	}
	if got := <-follower.moved; got != "m3 10.0.0.7:2377" {
		t.Errorf("heard: %q", got)
	}
	if err := move(manager, leader.addr, MoveRequest{"here", "10.0.0.7"}); !errors.Is(err, errdefs.ErrInvalidArgument) {
		t.Errorf("nowhere: %v", err)
	}
}
