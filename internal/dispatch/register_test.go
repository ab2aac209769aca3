package dispatch

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/rpc"
	"shoal/internal/store"
	"shoal/internal/store/storetest"
)

// slow is a log in which every entry takes a while.
type slow struct{ store *store.Store }

func (s slow) Propose(_ context.Context, entry []byte) error {
	<-time.After(time.Second)
	return s.store.Apply(entry)
}

// fallingNode is a term on a slow log with one node, n1, that is due to fall.
func fallingNode(t *testing.T) (*term, *store.Store, *cluster.Up) {
	t.Helper()
	s := storetest.New(t)
	up := &cluster.Up{Description: &swarm.NodeDescription{Hostname: "n1"}}
	storetest.Update(t, s, func(tx *store.Tx) {
		n := &cluster.Node{}
		n.ID, n.Description = "n1", *up.Description
		n.Status = swarm.NodeStatus{State: swarm.NodeStateReady, Addr: "10.0.0.1"}
		store.Nodes.Put(tx, n)
	})
	s.Lead(slow{s})
	term := newTerm(t.Context(), New(Config{Store: s}))
	term.meet(s.View())
	<-time.After(time.Minute)
	term.members["n1"].beat.probe = probeDead
	return term, s, up
}

// A node that is heard of while its fall is being written, in a session that it never lost, must begin a new one: nothing
// else would make it READY again.
func TestBeatWhileItsFallIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		term, _, _ := fallingNode(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		s := &session{nodeID: "n1", ctx: ctx, cancel: cancel, wake: make(chan struct{}, 1)}
		term.members["n1"].session = s
		fell := make(chan error, 1)
		go func() { fell <- term.fall(t.Context(), []string{"n1"}) }()
		synctest.Wait()
		if err := term.heard(s, &cluster.Up{}); err != nil {
			t.Fatal(err)
		}
		if err := <-fell; err != nil {
			t.Fatal(err)
		}
		if !errors.Is(context.Cause(ctx), errNotHeard) {
			t.Errorf("the session of a node that is DOWN goes on (%v)", context.Cause(ctx))
		}
	})
}

// A node that comes back while its fall is being written is READY in the end, not DOWN with a session.
func TestBackWhileItsFallIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		term, s, up := fallingNode(t)
		fell := make(chan error, 1)
		go func() { fell <- term.fall(t.Context(), []string{"n1"}) }()
		synctest.Wait()
		term.touch("n1")
		if err := term.register(t.Context(), rpc.Caller{ID: "n1"}, up); err != nil {
			t.Fatal(err)
		}
		if err := <-fell; err != nil {
			t.Fatal(err)
		}
		if n := store.Nodes.Get(s.View(), "n1"); n.Status.State != swarm.NodeStateReady {
			t.Errorf("the node is %s, and has a session", n.Status.State)
		}
	})
}
