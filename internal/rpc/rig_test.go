package rpc

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/ca"
	"shoal/internal/cluster"
	"shoal/internal/raftstore"
	"shoal/internal/store"
	"shoal/internal/store/storetest"
)

// rig is one manager's server on a loopback port, over a store that commits at once.
type rig struct {
	store    *store.Store
	root     *ca.Root
	identity *ca.Identity
	server   *Server
	addr     string
	group    *fakeGroup
	moved    chan string // what the server has heard of managers that move
}

// fakeGroup is a Raft group of which this server leads, or the one named.
type fakeGroup struct {
	follows atomic.Value // string: the leader's ID; empty: this one leads
	self    string
	added   chan string
	servers atomic.Pointer[[]raftstore.Server]
}

func (g *fakeGroup) Servers() []raftstore.Server {
	if list := g.servers.Load(); list != nil {
		return *list
	}
	return nil
}

func (g *fakeGroup) IsLeader() bool { return g.follows.Load().(string) == "" }
func (g *fakeGroup) Leader() string {
	if id := g.follows.Load().(string); id != "" {
		return id
	}
	return g.self
}

func (g *fakeGroup) LeaderChanged() <-chan struct{} { return nil }

func (g *fakeGroup) AddNonvoter(_ context.Context, id, addr string) error {
	g.added <- "nonvoter " + id + " " + addr
	return nil
}

func (g *fakeGroup) AddVoter(_ context.Context, id, addr string) error {
	g.added <- "voter " + id + " " + addr
	return nil
}

func (g *fakeGroup) Move(_ context.Context, id, addr string) error {
	g.added <- "move " + id + " " + addr
	return nil
}

func (g *fakeGroup) Remove(_ context.Context, id string) error {
	g.added <- "remove " + id
	return nil
}

type nothing struct{}

func (nothing) Session(_ Caller, s SessionStream) error {
	_, err := s.Recv()
	return err
}

func (nothing) Answer(_, _ string, conn net.Conn) error { return conn.Close() }

// newRig starts the manager m1 of a new cluster.
func newRig(t *testing.T) *rig {
	t.Helper()
	s := storetest.New(t)
	c := &cluster.Cluster{}
	c.ID = "c1"
	if err := ca.NewCluster(c, nil, nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	root, err := ca.ParseRoot(c.Root.Cert, c.Root.Key)
	if err != nil {
		t.Fatal(err)
	}
	storetest.Update(t, s, func(tx *store.Tx) { store.Clusters.Put(tx, c) })
	return startManager(t, s, root, "m1")
}

// startManager starts a manager on a store that may be shared.
func startManager(t *testing.T, s *store.Store, root *ca.Root, id string) *rig {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{store: s, root: root, addr: ln.Addr().String(), group: &fakeGroup{self: id, added: make(chan string, 16)}, moved: make(chan string, 16)}
	r.group.follows.Store("")
	r.identity = r.node(t, id, swarm.NodeRoleManager)
	storetest.Update(t, s, func(tx *store.Tx) {
		n := *store.Nodes.Get(tx, id)
		n.ManagerStatus = &swarm.ManagerStatus{Addr: r.addr}
		store.Nodes.Put(tx, &n)
	})
	r.server = NewServer(Config{
		Identity: r.identity, Store: s, Group: func() Group { return r.group }, Sessions: nothing{}, Calls: nothing{}, Advertise: r.addr,
		Moved: func(id, addr string) { r.moved <- id + " " + addr },
	})
	done := make(chan error, 1)
	go func() { done <- r.server.Serve(ln) }()
	t.Cleanup(func() {
		if err := r.server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r
}

// certify makes an identity of the cluster, or of another one.
func (r *rig) certify(t *testing.T, id, clusterID string, role swarm.NodeRole, now time.Time) *ca.Identity {
	t.Helper()
	key, csr, err := ca.NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	chain, err := r.root.Sign(csr, ca.Subject{NodeID: id, ClusterID: clusterID, Role: role}, time.Hour, now)
	if err != nil {
		t.Fatal(err)
	}
	identity, err := ca.NewIdentity(ca.Bundle{Chain: chain, Key: key, Root: r.root.PEM})
	if err != nil {
		t.Fatal(err)
	}
	return identity
}

// node makes a node of the cluster, in the store too.
func (r *rig) node(t *testing.T, id string, role swarm.NodeRole) *ca.Identity {
	t.Helper()
	storetest.Update(t, r.store, func(tx *store.Tx) {
		n := &cluster.Node{}
		n.ID = id
		n.Spec.Role = role
		store.Nodes.Put(tx, n)
	})
	return r.certify(t, id, "c1", role, time.Now())
}

func (r *rig) token(role swarm.NodeRole) string {
	c := store.ClusterOf(r.store.View())
	if role == swarm.NodeRoleManager {
		return c.JoinTokens.Manager
	}
	return c.JoinTokens.Worker
}
