package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/ca"
	"shoal/internal/store"
	"shoal/internal/store/storetest"
)

// crowdWord makes the test binary hold idle connections to the address after it, until its standard input ends.
const crowdWord = "rpc-crowd"

const crowd = 10_000

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == crowdWord {
		hold(os.Args[2])
		return
	}
	os.Exit(m.Run())
}

// hold opens the crowd's connections from many addresses and says so.
func hold(addr string) {
	conns := make([]net.Conn, 0, crowd)
	for i := range crowd {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i%16))}}
		c, err := d.Dial("tcp", addr)
		if err != nil {
			fmt.Fprintln(os.Stdout, i, err)
			os.Exit(1)
		}
		conns = append(conns, c)
	}
	fmt.Fprintln(os.Stdout, "held")
	_, _ = io.Copy(io.Discard, os.Stdin)
	runtime.KeepAlive(conns)
}

// pipe is a connection that notes its end.
type pipe struct {
	net.Conn
	closed chan struct{}
}

func (p pipe) Close() error { close(p.closed); return nil }

func TestGate(t *testing.T) {
	g := gate{max: 3, one: 2}
	conn := func() pipe { return pipe{closed: make(chan struct{})} }
	first := conn()
	a := g.enter(first, "a")
	b := g.enter(conn(), "a")
	if a == nil || b == nil || g.enter(conn(), "a") != nil {
		t.Fatal("the bound of one address does not hold")
	}
	if g.enter(conn(), "b") == nil {
		t.Fatal("it holds for another address")
	}
	if g.enter(conn(), "c") == nil {
		t.Fatal("a full gate keeps a newcomer out")
	}
	<-first.closed // it has made room
	a.leave()      // and gives back nothing that it no longer has
	if g.open["a"] != 1 || g.order.Len() != 3 {
		t.Errorf("%v, %d places", g.open, g.order.Len())
	}
	b.leave()
	b.leave()
	if g.open["a"] != 0 || g.order.Len() != 2 {
		t.Errorf("%v, %d places", g.open, g.order.Len())
	}
}

// TestCrowd: ten thousand connections that say nothing cost little, keep nobody out, and are let go.
func TestCrowd(t *testing.T) {
	r := newRig(t)
	node := r.node(t, "w1", swarm.NodeRoleWorker)
	server, addr := impatient(t, r)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	before := memory()
	cmd := exec.CommandContext(t.Context(), self, crowdWord, addr)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 100)
	n, _ := out.Read(said)
	if word := string(said[:n]); word != "held\n" {
		t.Fatalf("the crowd says %s", word)
	}
	server.handshakes.mu.Lock()
	open := server.handshakes.order.Len()
	server.handshakes.mu.Unlock()
	each := (memory() - before) / max(1, int64(open))
	t.Logf("%d of %d connections are open, %d bytes each", open, crowd, each)
	if open > maxHandshakes || open == 0 || each > 24<<10 {
		t.Errorf("%d open connections, %d bytes each; want at most %d, and 24 KiB", open, each, maxHandshakes)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	client, err := Dial(ctx, node, addr)
	if err != nil {
		t.Fatalf("a node in the crowd: %v", err)
	}
	defer client.Close()
	if _, err := client.Leader(ctx); err != nil {
		t.Errorf("a node in the crowd: %v", err)
	}
	deadline := time.After(4 * server.patience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for open > 0 {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%d idle connections are still open", open)
		}
		server.handshakes.mu.Lock()
		open = server.handshakes.order.Len()
		server.handshakes.mu.Unlock()
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// impatient starts a second server of the rig's manager, which waits less long for a handshake.
func impatient(t *testing.T, r *rig) (*Server, string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(Config{Identity: r.identity, Store: r.store, Group: func() Group { return r.group }, Advertise: ln.Addr().String()})
	s.patience = 4 * time.Second
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), <-done); err != nil {
			t.Error(err)
		}
	})
	return s, ln.Addr().String()
}

// memory is what the process has in use, in bytes.
func memory() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// TestAnonymousCrowd: who has no certificate may finish the handshake and then idle, but not in numbers.
func TestAnonymousCrowd(t *testing.T) {
	r := newRig(t)
	nobody, err := ca.Anonymous(r.root.PEM, protoGRPC)
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for range maxAnonymousFromOne + 20 {
		c, err := dialTLS(t.Context(), nobody, r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		// gRPC speaks first: its settings, or the end.
		if _, err := c.Read(make([]byte, 1)); errors.Is(err, io.EOF) {
			refused++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if refused != 20 {
		t.Errorf("%d connections were refused, want 20", refused)
	}
	client, err := Dial(t.Context(), r.node(t, "w1", swarm.NodeRoleWorker), r.addr)
	if err != nil {
		t.Fatalf("a node from the same address: %v", err)
	}
	client.Close()
}

// TestRotatedToken: the old token lets nobody in any more, the new one does, and nodes that are in stay in.
func TestRotatedToken(t *testing.T) {
	r := newRig(t)
	old := r.token(swarm.NodeRoleWorker)
	member, err := Dial(t.Context(), r.node(t, "w1", swarm.NodeRoleWorker), r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer member.Close()
	storetest.Update(t, r.store, func(tx *store.Tx) {
		c := *store.ClusterOf(tx)
		token, err := ca.NewToken(c.Root.Cert)
		if err != nil {
			t.Error(err)
		}
		c.JoinTokens.Worker = token
		store.Clusters.Put(tx, &c)
	})
	_, err = Join(t.Context(), Membership{Managers: []string{r.addr}, Token: old})
	if !errors.Is(err, errdefs.ErrPermissionDenied) || !strings.Contains(err.Error(), "A valid join token is necessary") {
		t.Errorf("the old token: %v", err)
	}
	if _, err := Join(t.Context(), Membership{Managers: []string{r.addr}, Token: r.token(swarm.NodeRoleWorker)}); err != nil {
		t.Errorf("the new token: %v", err)
	}
	if _, err := member.Leader(t.Context()); err != nil {
		t.Errorf("a node that is in: %v", err)
	}
}
