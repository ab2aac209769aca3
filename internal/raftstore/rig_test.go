package raftstore_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"shoal/internal/cluster"
	"shoal/internal/raftstore"
	"shoal/internal/store"
)

// layer is a stream layer over loopback TCP that can be cut off.
type layer struct {
	net.Listener
	mu    sync.Mutex
	cut   bool
	slow  *valve // nil: nothing is held up
	conns map[net.Conn]bool
	taken int // connections that others have made
}

func newLayer(t testing.TB) *layer {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return &layer{Listener: l, conns: map[net.Conn]bool{}}
}

var errCut = errors.New("cut off")

func (l *layer) keep(c net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return nil, errors.Join(errCut, c.Close())
	}
	l.conns[c] = true
	if l.slow != nil {
		return &slowConn{Conn: c, valve: l.slow}, nil
	}
	return c, nil
}

// valve lets so many bytes through on each connection, says that more are there, and lets them through when it is opened.
type valve struct {
	limit   int
	reached chan struct{} // holds one token
	open    chan struct{}
}

type slowConn struct {
	net.Conn
	valve *valve
	read  int
}

func (c *slowConn) Read(b []byte) (int, error) {
	if c.read > c.valve.limit {
		select {
		case c.valve.reached <- struct{}{}:
		default:
		}
		<-c.valve.open
	}
	n, err := c.Conn.Read(b)
	c.read += n
	return n, err
}

func (l *layer) Accept() (net.Conn, error) {
	for {
		c, err := l.keep(l.Listener.Accept())
		l.mu.Lock()
		l.taken++
		l.mu.Unlock()
		if !errors.Is(err, errCut) {
			return c, err
		}
	}
}

func (l *layer) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	l.mu.Lock()
	cut := l.cut
	l.mu.Unlock()
	if cut {
		return nil, errCut
	}
	return l.keep(net.DialTimeout("tcp", string(addr), timeout))
}

// setCut closes every connection and refuses new ones, or lets them through again.
func (l *layer) setCut(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	for c := range l.conns {
		_ = c.Close()
		delete(l.conns, c)
	}
}

// breakAll closes every connection.
func (l *layer) breakAll() {
	l.setCut(true)
	l.setCut(false)
}

// accepted is how many connections others have made.
func (l *layer) accepted() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.taken
}

// member is a node with its store, which leads when the node does.
type member struct {
	*raftstore.Node
	id    string
	store *store.Store
	layer *layer
	leads chan bool // what LeaderCh has told, after the store has followed it
}

// start opens a node and ties its store to its leadership, as the daemon does.
func start(t testing.TB, config raftstore.Config) *member {
	t.Helper()
	m, err := open(t, config)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func open(t testing.TB, config raftstore.Config) (*member, error) {
	m := &member{id: config.ID, store: store.New(), layer: newLayer(t), leads: make(chan bool, 64)}
	config.Store = m.store
	config.Transport = raftstore.NewTransport(m.layer, nil, nil)
	if config.SegmentSize == 0 {
		config.SegmentSize = 256 << 10
	}
	if testing.Verbose() {
		config.Log = slog.New(slog.NewTextHandler(t.Output(), nil)).With("node", config.ID)
	}
	n, err := raftstore.Open(config)
	if err != nil {
		return nil, errors.Join(err, config.Transport.(raft.WithClose).Close())
	}
	m.Node = n
	done := make(chan struct{})
	go func() {
		defer close(done)
		for leads := range n.LeaderCh() {
			if leads {
				m.store.Lead(n)
			} else {
				m.store.Follow()
			}
			m.leads <- leads
		}
		m.store.Follow()
	}()
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("close %s: %v", m.id, err)
		}
		<-done
	})
	return m, nil
}

// patience bounds every wait of these tests; none comes near it unless something is broken.
const patience = 20 * time.Second

// eventually waits until ok says so.
func eventually(t testing.TB, what string, ok func() bool) {
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

func (m *member) awaitLead(t testing.TB, want bool) {
	t.Helper()
	select {
	case got := <-m.leads:
		if got != want {
			t.Fatalf("%s: leads is %v, want %v", m.id, got, want)
		}
	case <-time.After(patience):
		t.Fatalf("%s: still waiting for leads to be %v", m.id, want)
	}
}

// write puts a config with that name and returns Update's error.
func (m *member) write(id string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := m.store.Update(ctx, func(tx *store.Tx) error {
		c := &cluster.Config{}
		c.ID, c.Spec.Data = id, make([]byte, 512)
		store.Configs.Put(tx, c)
		return nil
	})
	return err
}

func (m *member) mustWrite(t testing.TB, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if err := m.write(id); err != nil {
			t.Fatalf("%s: write %s: %v", m.id, id, err)
		}
	}
}

func (m *member) has(id string) bool { return store.Configs.Get(m.store.View(), id) != nil }

// await waits until the store has that config.
func (m *member) await(t testing.TB, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for !m.has(id) {
		view := m.store.View()
		if store.Configs.Get(view, id) != nil {
			return
		}
		for _, err := range m.store.Watch(ctx, view.Index()) {
			if err != nil && !errors.Is(err, store.ErrBehind) {
				t.Fatal(err)
			}
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("%s: still waiting for %s; the store is at %d", m.id, id, m.store.Index())
		}
	}
}

// group starts n voters; the first one leads.
func group(t testing.TB, n int, config raftstore.Config) []*member {
	t.Helper()
	var members []*member
	for i := range n {
		c := config
		c.Dir, c.ID, c.Bootstrap = t.TempDir(), fmt.Sprint("n", i+1), i == 0
		m := start(t, c)
		members = append(members, m)
		if i == 0 {
			m.awaitLead(t, true)
			m.mustWrite(t, "first")
			continue
		}
		join(t, members[0], m)
	}
	return members
}

func join(t testing.TB, leader, m *member) {
	t.Helper()
	addr := m.layer.Addr().String()
	if err := leader.AddNonvoter(t.Context(), m.id, addr); err != nil {
		t.Fatal(err)
	}
	m.await(t, "first")
	if err := leader.AddVoter(t.Context(), m.id, addr); err != nil {
		t.Fatal(err)
	}
}
