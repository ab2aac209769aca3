package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/agent"
	"shoal/internal/agent/agenttest"
	"shoal/internal/ca"
	"shoal/internal/cluster"
	"shoal/internal/dispatch"
	"shoal/internal/raftstore"
	"shoal/internal/rpc"
	"shoal/internal/store"
	"shoal/internal/store/storetest"
)

// manager is a leader on a loopback port: store, server and dispatcher.
type manager struct {
	store    *store.Store
	dispatch *dispatch.Dispatcher
	addr     string
	accepted atomic.Int32       // connections
	lead     context.CancelFunc // ends its term
	term     sync.WaitGroup
}

type alone struct{ id string }

func (alone) IsLeader() bool                                    { return true }
func (a alone) Leader() string                                  { return a.id }
func (alone) LeaderChanged() <-chan struct{}                    { return nil }
func (alone) Servers() []raftstore.Server                       { return nil }
func (alone) AddNonvoter(context.Context, string, string) error { return nil }
func (alone) Move(context.Context, string, string) error        { return nil }
func (alone) AddVoter(context.Context, string, string) error    { return nil }
func (alone) Remove(context.Context, string) error              { return nil }

const period = 500 * time.Millisecond

func newManager(t *testing.T) *manager {
	t.Helper()
	m := &manager{store: storetest.New(t)}
	c := &cluster.Cluster{}
	c.ID = "c1"
	c.Spec.Dispatcher.HeartbeatPeriod = period
	if err := ca.NewCluster(c, nil, nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	storetest.Update(t, m.store, func(tx *store.Tx) {
		store.Clusters.Put(tx, c)
		n := &cluster.Node{}
		n.ID, n.Spec.Role = "m1", swarm.NodeRoleManager
		store.Nodes.Put(tx, n)
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.addr = ln.Addr().String()
	m.dispatch = dispatch.New(dispatch.Config{Store: m.store})
	server := rpc.NewServer(rpc.Config{
		Identity: m.identity(t, "m1", swarm.NodeRoleManager), Store: m.store, Group: func() rpc.Group { return alone{"m1"} },
		Sessions: m.dispatch, Advertise: m.addr,
	})
	go server.Serve(counting{ln, &m.accepted})
	t.Cleanup(func() { server.Close() })
	m.takeLead()
	t.Cleanup(m.loseLead)
	return m
}

// counting counts the connections that are accepted.
type counting struct {
	net.Listener
	n *atomic.Int32
}

func (c counting) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.n.Add(1)
	}
	return conn, err
}

func (m *manager) takeLead() {
	ctx, cancel := context.WithCancel(context.Background())
	m.lead = cancel
	m.term.Go(func() { m.dispatch.Run(ctx) })
}

func (m *manager) loseLead() {
	m.lead()
	m.term.Wait()
}

func (m *manager) identity(t *testing.T, id string, role swarm.NodeRole) *ca.Identity {
	t.Helper()
	root, err := ca.Signer(store.ClusterOf(m.store.View()).Root)
	if err != nil {
		t.Fatal(err)
	}
	key, csr, err := ca.NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	chain, err := root.Sign(csr, ca.Subject{NodeID: id, ClusterID: "c1", Role: role}, 0, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	identity, err := ca.NewIdentity(ca.Bundle{Chain: chain, Key: key, Root: root.PEM})
	if err != nil {
		t.Fatal(err)
	}
	return identity
}

// worker is a node: what outlives its agent, and the agent.
type worker struct {
	id       string
	dir      string
	identity *ca.Identity
	executor *agenttest.Executor
	network  *agenttest.Network
	agent    *agent.Agent
	stop     context.CancelFunc
	done     chan struct{}
}

// join makes a node by the real way in: token, root, certificate.
func (m *manager) join(t *testing.T, hostname string) *worker {
	t.Helper()
	bundle, err := rpc.Join(t.Context(), rpc.Membership{
		Managers: []string{m.addr}, Token: store.ClusterOf(m.store.View()).JoinTokens.Worker,
	})
	if err != nil {
		t.Fatal(err)
	}
	identity, err := ca.NewIdentity(bundle)
	if err != nil {
		t.Fatal(err)
	}
	w := &worker{id: identity.Subject().NodeID, dir: t.TempDir(), identity: identity, executor: agenttest.New(hostname), network: &agenttest.Network{}}
	w.start(m)
	t.Cleanup(func() { w.halt() })
	m.node(t, w, swarm.NodeStateReady)
	return w
}

func (w *worker) start(m *manager) {
	ctx, cancel := context.WithCancel(context.Background())
	w.stop, w.done = cancel, make(chan struct{})
	w.agent = agent.New(agent.Config{
		Dir: w.dir, Identity: w.identity, Executor: w.executor, Network: w.network, Managers: []string{m.addr},
	})
	go func() {
		defer close(w.done)
		w.agent.Run(ctx)
	}()
}

func (w *worker) halt() {
	w.stop()
	<-w.done
}

// until waits for a condition on the store.
func (m *manager) until(t *testing.T, what string, ok func(store.View) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	view := m.store.View()
	if ok(view) {
		return
	}
	for _, err := range m.store.Watch(ctx, view.Index()) {
		if err != nil {
			t.Fatal(err)
		}
		if ok(m.store.View()) {
			return
		}
	}
	t.Fatalf("in vain: %s", what)
}

func (m *manager) node(t *testing.T, w *worker, state swarm.NodeState) {
	t.Helper()
	m.until(t, "node "+string(state), func(v store.View) bool { return store.Nodes.Get(v, w.id).Status.State == state })
}

func (m *manager) task(t *testing.T, id string, state swarm.TaskState) swarm.TaskStatus {
	t.Helper()
	m.until(t, "task "+id+" "+string(state), func(v store.View) bool {
		task := store.Tasks.Get(v, id)
		return task != nil && task.Status.State == state
	})
	return store.Tasks.Get(m.store.View(), id).Status
}

// until waits for a condition on the containers.
func (w *worker) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	timer := time.NewTimer(20 * time.Second)
	defer timer.Stop()
	for {
		changed := w.executor.Changed()
		if ok() {
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			t.Fatalf("in vain: %s; running %v", what, w.executor.Running())
		}
	}
}

// assign puts tasks on a node.
func (m *manager) assign(t *testing.T, w *worker, desired swarm.TaskState, ids ...string) {
	t.Helper()
	storetest.Update(t, m.store, func(tx *store.Tx) {
		if store.Specs.Get(tx, "spec") == nil {
			sec := &cluster.Secret{}
			sec.ID, sec.Spec.Data = "sec", []byte("hush")
			store.Secrets.Put(tx, sec)
			store.Specs.Put(tx, &cluster.Spec{ID: "spec", Task: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{
				Image: "web:v1", Secrets: []*swarm.SecretReference{{SecretID: "sec"}},
			}}})
		}
		for _, id := range ids {
			task := &cluster.Task{ID: id, SpecID: "spec", NodeID: w.id, DesiredState: desired}
			task.Status.State = swarm.TaskStateAssigned
			store.Tasks.Put(tx, task)
		}
	})
}

func (m *manager) desire(t *testing.T, id string, desired swarm.TaskState) {
	t.Helper()
	storetest.Update(t, m.store, func(tx *store.Tx) {
		task := *store.Tasks.Get(tx, id)
		task.DesiredState = desired
		store.Tasks.Put(tx, &task)
	})
}

func TestLifeOfATask(t *testing.T) {
	m := newManager(t)
	w := m.join(t, "host1")
	if n := store.Nodes.Get(m.store.View(), w.id); n.Description.Hostname != "host1" || len(n.Description.TLSInfo.CertIssuerPublicKey) == 0 {
		t.Errorf("description %+v", n.Description)
	}
	secrets := make(chan int, 10)
	w.executor.OnPrepare(func(a cluster.Assignment, s cluster.Secrets) error {
		secrets <- len(s.Secrets)
		if a.Task.ID == "bad" {
			return cluster.Errorf(errdefs.ErrNotFound, "No such image: web:v1")
		}
		return nil
	})
	m.assign(t, w, swarm.TaskStateReady, "t1")
	m.task(t, "t1", swarm.TaskStateReady)
	if n := <-secrets; n != 1 || w.executor.Starts("t1") != 0 {
		t.Errorf("prepared with %d secrets, started %d times", n, w.executor.Starts("t1"))
	}
	m.desire(t, "t1", swarm.TaskStateRunning)
	if s := m.task(t, "t1", swarm.TaskStateRunning); s.Message != "started" || s.ContainerStatus == nil || s.ContainerStatus.PID != 42 {
		t.Errorf("running: %+v", s)
	}
	m.assign(t, w, swarm.TaskStateRunning, "bad", "t2", "t3")
	if s := m.task(t, "bad", swarm.TaskStateRejected); s.Err != "No such image: web:v1" {
		t.Errorf("rejected: %+v", s)
	}
	m.task(t, "t2", swarm.TaskStateRunning)
	w.executor.End("t2", cluster.Exit{Code: 1, FinishedAt: time.Now()})
	if s := m.task(t, "t2", swarm.TaskStateFailed); s.Err != "task: non-zero exit (1)" || s.ContainerStatus.ExitCode != 1 {
		t.Errorf("failed: %+v", s)
	}
	m.task(t, "t3", swarm.TaskStateRunning)
	w.executor.End("t3", cluster.Exit{FinishedAt: time.Now()})
	if s := m.task(t, "t3", swarm.TaskStateComplete); s.Err != "" || s.Message != "finished" {
		t.Errorf("complete: %+v", s)
	}
	m.desire(t, "t1", swarm.TaskStateShutdown)
	m.task(t, "t1", swarm.TaskStateShutdown)
	if diff := cmp.Diff([]string{"t1", "t2", "t3"}, w.executor.Containers()); diff != "" {
		t.Errorf("ended tasks keep their containers (-want +got)\n%s", diff)
	}
	storetest.Update(t, m.store, func(tx *store.Tx) {
		for _, id := range []string{"t1", "t2", "t3", "bad"} {
			store.Tasks.Delete(tx, id)
		}
	})
	w.until(t, "all containers removed", func() bool { return len(w.executor.Containers()) == 0 })
	m.assign(t, w, swarm.TaskStateRunning, "t4")
	m.task(t, "t4", swarm.TaskStateRunning)
	m.desire(t, "t4", swarm.TaskStateRemove)
	m.task(t, "t4", swarm.TaskStateShutdown)
	if got := w.executor.Containers(); len(got) != 0 {
		t.Errorf("reported ended with its container there: %v", got)
	}
}

// TestRestartOfTheDaemon: containers run on, nothing is started twice, and what happened meanwhile is reported.
func TestRestartOfTheDaemon(t *testing.T) {
	m := newManager(t)
	w := m.join(t, "host1")
	m.assign(t, w, swarm.TaskStateRunning, "t1", "t2", "t3", "t4")
	for _, id := range []string{"t1", "t2", "t3", "t4"} {
		m.task(t, id, swarm.TaskStateRunning)
	}
	w.halt()
	w.executor.End("t2", cluster.Exit{Code: 3, FinishedAt: time.Now()})
	w.executor.Lose("t3")
	m.desire(t, "t4", swarm.TaskStateShutdown)
	w.start(m)
	if s := m.task(t, "t2", swarm.TaskStateFailed); s.Err != "task: non-zero exit (3)" {
		t.Errorf("ended meanwhile: %+v", s)
	}
	m.task(t, "t3", swarm.TaskStateFailed)
	m.task(t, "t4", swarm.TaskStateShutdown)
	if diff := cmp.Diff([]string{"t1"}, w.executor.Running()); diff != "" {
		t.Error(diff)
	}
	for _, id := range []string{"t1", "t2", "t3", "t4"} {
		if n := w.executor.Starts(id); n != 1 {
			t.Errorf("%s was started %d times", id, n)
		}
	}
}

// TestDownAndBack: a silent node goes DOWN; when it comes back it stops what is no longer its own.
func TestDownAndBack(t *testing.T) {
	m := newManager(t)
	w := m.join(t, "host1")
	m.assign(t, w, swarm.TaskStateRunning, "t1", "t2")
	m.task(t, "t1", swarm.TaskStateRunning)
	m.task(t, "t2", swarm.TaskStateRunning)
	began := time.Now()
	w.halt()
	m.node(t, w, swarm.NodeStateDown)
	if d := time.Since(began); d < period*3/2-period/5-50*time.Millisecond {
		t.Errorf("DOWN after %s: a closed connection has one and a half periods", d)
	}
	if falls := store.Nodes.Get(m.store.View(), w.id).Falls; len(falls) != 1 {
		t.Errorf("falls %v", falls)
	}
	if diff := cmp.Diff([]string{"t1", "t2"}, w.executor.Running()); diff != "" {
		t.Errorf("without a manager (-want +got)\n%s", diff)
	}
	m.desire(t, "t1", swarm.TaskStateShutdown)
	storetest.Update(t, m.store, func(tx *store.Tx) { store.Tasks.Delete(tx, "t2") })
	w.start(m)
	m.node(t, w, swarm.NodeStateReady)
	m.task(t, "t1", swarm.TaskStateShutdown)
	w.until(t, "t2's container gone", func() bool { return cmp.Equal(w.executor.Containers(), []string{"t1"}) })
}

// TestNewLeader: nodes are UNKNOWN and come back over the connections that they have, and reports made in between are not lost.
func TestNewLeader(t *testing.T) {
	m := newManager(t)
	w := m.join(t, "host1")
	m.assign(t, w, swarm.TaskStateRunning, "t1", "t2")
	m.task(t, "t1", swarm.TaskStateRunning)
	m.task(t, "t2", swarm.TaskStateRunning)
	connections := m.accepted.Load()
	m.loseLead()
	w.executor.End("t1", cluster.Exit{Code: 7, FinishedAt: time.Now()})
	before := m.store.Index()
	m.takeLead()
	if s := m.task(t, "t1", swarm.TaskStateFailed); s.Err != "task: non-zero exit (7)" {
		t.Errorf("%+v", s)
	}
	m.node(t, w, swarm.NodeStateReady)
	if n := m.accepted.Load() - connections; n != 0 {
		t.Errorf("%d new connections to a manager that was there all the time", n)
	}
	unknown := false
	for e, err := range m.store.Watch(t.Context(), before) {
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range e.Changes {
			if n, ok := c.New.(*cluster.Node); ok && n.ID == w.id {
				unknown = unknown || n.Status.State == swarm.NodeStateUnknown
			}
		}
		if e.Index >= m.store.Index() {
			break
		}
	}
	if !unknown {
		t.Error("the node was never UNKNOWN")
	}
	if n := w.executor.Starts("t2"); n != 1 {
		t.Errorf("t2 was started %d times", n)
	}
}

// TestApplied: a change that concerns no node's network holds nobody up, and one that does is waited for.
func TestApplied(t *testing.T) {
	m := newManager(t)
	w := m.join(t, "host1")
	var index uint64
	for i := range 20 {
		index = storetest.Update(t, m.store, func(tx *store.Tx) {
			c := &cluster.Config{}
			c.ID = fmt.Sprint("config", i)
			store.Configs.Put(tx, c)
		})
	}
	applied := func(index uint64) {
		t.Helper()
		timer := time.NewTimer(10 * time.Second)
		defer timer.Stop()
		for {
			moved := m.dispatch.AppliedMoved()
			if m.dispatch.Applied() >= index {
				return
			}
			select {
			case <-moved:
			case <-timer.C:
				t.Fatalf("applied %d, want %d", m.dispatch.Applied(), index)
			}
		}
	}
	applied(index)
	storetest.Update(t, m.store, func(tx *store.Tx) {
		n := &cluster.Network{VNI: 4097}
		n.ID = "net"
		store.Networks.Put(tx, n)
	})
	index = storetest.Update(t, m.store, func(tx *store.Tx) {
		task := &cluster.Task{ID: "t1", SpecID: "spec", NodeID: w.id, DesiredState: swarm.TaskStateRunning}
		task.Status.State = swarm.TaskStateAssigned
		task.Attachments = []cluster.Attachment{{NetworkID: "net"}}
		store.Tasks.Put(tx, task)
	})
	applied(index)
	if got := w.network.Last(); len(got.Networks) != 1 || got.Index < index {
		t.Errorf("applied %d says the manager, and the node has %+v", index, got)
	}
}

// TestRemovedNode is told so and let go.
func TestRemovedNode(t *testing.T) {
	m := newManager(t)
	w := m.join(t, "host1")
	storetest.Update(t, m.store, func(tx *store.Tx) { store.Nodes.Delete(tx, w.id) })
	client, err := rpc.Dial(t.Context(), w.identity, m.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	s, err := client.Session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(&cluster.Up{Description: &swarm.NodeDescription{}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); !errors.Is(err, errdefs.ErrPermissionDenied) {
		t.Errorf("session of a removed node: %v", err)
	}
}

// TestRoleFollowsTheStore: a promoted node gets a manager's certificate by itself.
func TestRoleFollowsTheStore(t *testing.T) {
	m := newManager(t)
	w := m.join(t, "host1")
	changed := w.identity.Changed()
	storetest.Update(t, m.store, func(tx *store.Tx) {
		n := *store.Nodes.Get(tx, w.id)
		n.Spec.Role = swarm.NodeRoleManager
		store.Nodes.Put(tx, &n)
	})
	select {
	case <-changed:
	case <-time.After(20 * time.Second):
		t.Fatal("no new certificate")
	}
	if got := w.identity.Subject().Role; got != swarm.NodeRoleManager {
		t.Errorf("role %s", got)
	}
	m.until(t, "certificate in the store", func(v store.View) bool {
		return store.Nodes.Get(v, w.id).Cert.Role == swarm.NodeRoleManager
	})
}

// TestRootRotation moves a node to another root while its session goes on.
func TestRootRotation(t *testing.T) {
	m := newManager(t)
	w := m.join(t, "host1")
	cert, key, err := ca.NewRoot(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	storetest.Update(t, m.store, func(tx *store.Tx) {
		store.Nodes.Delete(tx, "m1") // it has no agent here
		c := *store.ClusterOf(tx)
		if c.Root, err = ca.StartRotation(c.Root, cert, key, time.Now()); err != nil {
			t.Error(err)
		}
		store.Clusters.Put(tx, &c)
	})
	m.until(t, "the node moved", func(v store.View) bool {
		return ca.Rotated(store.ClusterOf(v).Root, store.Nodes.All(v))
	})
	if ca.MustMove(w.identity.Leaf(), cert) {
		t.Error("its certificate is the old root's")
	}
}

func TestManyTasksOnManyNodes(t *testing.T) {
	m := newManager(t)
	var workers []*worker
	for i := range 5 {
		workers = append(workers, m.join(t, fmt.Sprint("host", i)))
	}
	const each = 100
	began := time.Now()
	for i, w := range workers {
		var ids []string
		for j := range each {
			ids = append(ids, fmt.Sprintf("t%d-%03d", i, j))
		}
		m.assign(t, w, swarm.TaskStateRunning, ids...)
	}
	m.until(t, "all running", func(v store.View) bool {
		n := 0
		for task := range store.Tasks.All(v) {
			if task.Status.State == swarm.TaskStateRunning {
				n++
			}
		}
		return n == each*len(workers)
	})
	t.Logf("%d tasks running after %s, %d transactions", each*len(workers), time.Since(began), m.store.Index())
}
