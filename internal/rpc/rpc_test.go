package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
	"github.com/moby/moby/api/types/swarm"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"shoal/internal/ca"
	"shoal/internal/cluster"
	"shoal/internal/raftstore"
	"shoal/internal/store"
	"shoal/internal/store/storetest"
)

// refused says whether an error is one of admission.
func refused(err error) bool {
	c := status.Code(err)
	return c == codes.Unauthenticated || c == codes.PermissionDenied
}

// try makes a call with nothing in it and returns its error.
func try(ctx context.Context, c *Client, m *method) error {
	if m.unary != nil {
		return c.conn.Invoke(ctx, m.name, &Empty{}, &Empty{})
	}
	s, err := c.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, m.name)
	if err != nil {
		return err
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	if err = s.RecvMsg(&Empty{}); errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// TestEveryMethodByEveryCaller is the table of who may call what, written a second time.
func TestEveryMethodByEveryCaller(t *testing.T) {
	r := newRig(t)
	may := map[string]string{ // "who may": n(obody), w(orker), m(anager), d(emoted)
		methodRoot: "nwmd", methodIssue: "wmd", methodLeader: "wmd", methodLeave: "wmd",
		methodJoin: "m", methodProbe: "m", methodSession: "wmd", methodAnswer: "wmd", methodMove: "wmd",
		methodAttach: "wmd", methodDetach: "wmd", methodPlaces: "wmd", methodNetworks: "wmd",
	}
	if len(may) != len(methods) {
		t.Fatalf("the test knows %d methods, the table has %d", len(may), len(methods))
	}
	nobody, err := ca.Anonymous(r.root.PEM, protoGRPC)
	if err != nil {
		t.Fatal(err)
	}
	r.node(t, "d1", swarm.NodeRoleWorker)
	callers := map[string]*tls.Config{
		"n": nobody,
		"w": r.node(t, "w1", swarm.NodeRoleWorker).Client(protoGRPC),
		"m": r.node(t, "m2", swarm.NodeRoleManager).Client(protoGRPC),
		"d": r.certify(t, "d1", "c1", swarm.NodeRoleManager, time.Now()).Client(protoGRPC), // the store says worker
	}
	for who, config := range callers {
		client, err := dialGRPC(t.Context(), config, r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		for i := range methods {
			m := &methods[i]
			err := try(t.Context(), client, m)
			if m.name == methodIssue && who == "n" {
				if status.Convert(err).Message() != errToken.Error() { // admitted, and asked for its token
					t.Errorf("%s by nobody: %v", m.name, err)
				}
				continue
			}
			if want := strings.Contains(may[m.name], who); refused(err) == want {
				t.Errorf("%s by %s: %v; may it: %v", m.name, who, err, want)
			}
		}
	}
}

// TestStrangers are refused before they can call anything.
func TestStrangers(t *testing.T) {
	r := newRig(t)
	removed := r.node(t, "gone", swarm.NodeRoleManager)
	storetest.Update(t, r.store, func(tx *store.Tx) {
		c := *store.ClusterOf(tx)
		c.Removed = map[string]time.Time{"gone": time.Now().Add(time.Hour)}
		store.Clusters.Put(tx, &c)
	})
	for name, identity := range map[string]*ca.Identity{
		"removed":         removed,
		"another cluster": r.certify(t, "m1", "c2", swarm.NodeRoleManager, time.Now()),
		"expired":         r.certify(t, "m1", "c1", swarm.NodeRoleManager, time.Now().Add(-3*time.Hour)),
	} {
		config := identity.Client(protoGRPC)
		config.VerifyConnection = nil // the client itself is ready for anything
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		client, err := dialGRPC(ctx, config, r.addr)
		if err == nil {
			_, err = client.Root(ctx)
			client.Close()
		}
		if err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
}

// TestRemovedWhileConnected: a connection does not outlive the removal of its node.
func TestRemovedWhileConnected(t *testing.T) {
	r := newRig(t)
	client, err := Dial(t.Context(), r.node(t, "w1", swarm.NodeRoleWorker), r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Leader(t.Context()); err != nil {
		t.Fatal(err)
	}
	storetest.Update(t, r.store, func(tx *store.Tx) {
		c := *store.ClusterOf(tx)
		c.Removed = map[string]time.Time{"w1": time.Now().Add(time.Hour)}
		store.Clusters.Put(tx, &c)
	})
	if _, err := client.Leader(t.Context()); !errors.Is(err, errdefs.ErrPermissionDenied) {
		t.Errorf("after the removal: %v", err)
	}
}

// TestDemotedStaysAManagerWhileItVotes: with a worker's certificate it would forget its log, and a voter that forgets could vote twice.
func TestDemotedStaysAManagerWhileItVotes(t *testing.T) {
	r := newRig(t)
	identity := r.node(t, "m2", swarm.NodeRoleManager)
	storetest.Update(t, r.store, func(tx *store.Tx) {
		n := *store.Nodes.Get(tx, "m2")
		n.Spec.Role = swarm.NodeRoleWorker
		store.Nodes.Put(tx, &n)
	})
	client, err := Dial(t.Context(), identity, r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	r.group.servers.Store(&[]raftstore.Server{{ID: "m2", Voter: true}})
	if _, err := Renew(t.Context(), client, identity); !errors.Is(err, errdefs.ErrUnavailable) {
		t.Errorf("a voter asks for a worker's certificate: %v", err)
	}
	r.group.servers.Store(&[]raftstore.Server{{ID: "m1", Voter: true}})
	bundle, err := Renew(t.Context(), client, identity)
	if err != nil {
		t.Fatal(err)
	}
	if next, err := ca.NewIdentity(bundle); err != nil || next.Subject().Role != swarm.NodeRoleWorker {
		t.Errorf("the certificate afterwards: %v", err)
	}
}

func TestJoin(t *testing.T) {
	r := newRig(t)
	for _, role := range []swarm.NodeRole{swarm.NodeRoleWorker, swarm.NodeRoleManager} {
		bundle, err := Join(t.Context(), Membership{
			Managers: []string{"127.0.0.1:1", r.addr}, Token: r.token(role), Availability: swarm.NodeAvailabilityDrain, Hostname: "h",
		})
		if err != nil {
			t.Fatal(err)
		}
		identity, err := ca.NewIdentity(bundle)
		if err != nil {
			t.Fatal(err)
		}
		if identity.Subject().Role != role || identity.Subject().ClusterID != "c1" {
			t.Errorf("%s: certificate for %v", role, identity.Subject())
		}
		n := store.Nodes.Get(r.store.View(), identity.Subject().NodeID)
		if n == nil || n.Spec.Role != role || n.Spec.Availability != swarm.NodeAvailabilityDrain || n.Status.Addr != "127.0.0.1" ||
			n.DataAddr.String() != "127.0.0.1" || n.Number == 0 || n.Description.Hostname != "h" {
			t.Errorf("%s: node %+v", role, n)
		}
		client, err := Dial(t.Context(), identity, r.addr)
		if err != nil {
			t.Fatal(err)
		}
		renewed, err := Renew(t.Context(), client, identity)
		if err != nil || identity.Set(renewed) != nil {
			t.Errorf("renewal: %v", err)
		}
		client.Close()
	}
}

func TestJoinRefused(t *testing.T) {
	r := newRig(t)
	other := newRig(t)
	good, err := ca.ParseToken(r.token(swarm.NodeRoleWorker))
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{
		"wrong secret":     ca.Token{Digest: good.Digest, Secret: strings.Repeat("0", 25)}.String(),
		"another swarm's":  other.token(swarm.NodeRoleWorker),
		"no token at all":  "x",
		"its secret alone": ca.Token{Digest: strings.Repeat("0", 50), Secret: good.Secret}.String(),
	} {
		_, err := Join(t.Context(), Membership{Managers: []string{r.addr}, Token: token})
		if !errors.Is(err, errdefs.ErrPermissionDenied) && !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := store.Nodes.Len(r.store.View()); n != 1 {
		t.Errorf("%d nodes after refused joins", n)
	}
}

// TestForwarding asks a follower; the leader answers in the caller's name and not in the follower's.
func TestForwarding(t *testing.T) {
	leader := newRig(t)
	follower := startManager(t, leader.store, leader.root, "m2")
	follower.group.follows.Store("m1")
	if _, err := Join(t.Context(), Membership{Managers: []string{follower.addr}, Token: leader.token(swarm.NodeRoleWorker)}); err != nil {
		t.Errorf("join: %v", err)
	}
	worker, err := Dial(t.Context(), leader.node(t, "w1", swarm.NodeRoleWorker), follower.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer worker.Close()
	if _, err := worker.Join(t.Context(), &JoinRequest{Addr: "10.0.0.9:2377"}); !errors.Is(err, errdefs.ErrPermissionDenied) {
		t.Errorf("a worker joined the managers through a follower: %v", err)
	}
	ctx := metadata.NewOutgoingContext(t.Context(), metadata.Pairs(keyForwarded, "1", keyID, "m1", keyRole, "manager"))
	if _, err := worker.Join(ctx, &JoinRequest{Addr: "10.0.0.9:2377"}); !errors.Is(err, errdefs.ErrPermissionDenied) {
		t.Errorf("a worker spoke for a manager: %v", err)
	}
	where, err := worker.Leader(t.Context())
	if err != nil || where.Addr != leader.addr || where.ID != "m1" || len(where.Managers) != 2 {
		t.Errorf("leader %+v, %v", where, err)
	}
	if _, err := worker.Session(t.Context()); err == nil {
		s, _ := worker.Session(t.Context())
		if _, err := s.Recv(); !errors.Is(err, errdefs.ErrUnavailable) {
			t.Errorf("session with a follower: %v", err)
		}
	}
	manager, err := Dial(t.Context(), leader.node(t, "m3", swarm.NodeRoleManager), follower.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	reply, err := manager.Join(t.Context(), &JoinRequest{Addr: "10.0.0.3:2377"})
	if err != nil || reply.Leader != "m1" {
		t.Fatalf("join of a manager: %+v, %v", reply, err)
	}
	if got := <-leader.group.added; got != "nonvoter m3 10.0.0.3:2377" {
		t.Errorf("Raft was told %q", got)
	}
	leader.group.follows.Store("m2") // both think that the other leads: nobody answers, and nobody goes round in circles
	if _, err := manager.Join(t.Context(), &JoinRequest{Addr: "10.0.0.3:2377"}); !errors.Is(err, errdefs.ErrUnavailable) {
		t.Errorf("without a leader: %v", err)
	}
}

func TestRaftAndAPIAreForManagers(t *testing.T) {
	r := newRig(t)
	worker := r.node(t, "w1", swarm.NodeRoleWorker)
	nobody, err := ca.Anonymous(r.root.PEM, protoRaft)
	if err != nil {
		t.Fatal(err)
	}
	for name, config := range map[string]*tls.Config{
		"nobody's raft": nobody, "a worker's raft": worker.Client(protoRaft), "a worker's api": worker.Client(protoAPI),
	} {
		conn, err := dialTLS(t.Context(), config, r.addr)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", name, err)
		}
		conn.Close()
	}
	layer := r.server.Raft()
	go func() {
		conn, err := layer.Accept()
		if err == nil {
			io.Copy(conn, conn)
			conn.Close()
		}
	}()
	conn, err := startManager(t, r.store, r.root, "m2").server.Raft().Dial(raft.ServerAddress(r.addr), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.Write([]byte("hello"))
	b := make([]byte, 5)
	if _, err := io.ReadFull(conn, b); err != nil || string(b) != "hello" {
		t.Errorf("raft: %q, %v", b, err)
	}
}

func TestAPIProxy(t *testing.T) {
	r := newRig(t)
	r.server.http.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		io.WriteString(w, req.Method+" "+req.URL.String()+" "+string(body))
	})
	to := r.addr
	failed := func(w http.ResponseWriter, _ *http.Request, err error) {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
	front := httptest.NewServer(APIProxy(r.node(t, "m2", swarm.NodeRoleManager), func(context.Context) (string, <-chan struct{}) { return to, nil }, failed))
	defer front.Close()
	post := func() (int, string) {
		resp, err := http.Post(front.URL+"/v1.52/services?x=1", "text/plain", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	if code, body := post(); code != 200 || body != "POST /v1.52/services?x=1 body" {
		t.Errorf("%d %q", code, body)
	}
	to = ""
	if code, body := post(); code != 503 || !strings.Contains(body, "does not have a leader") {
		t.Errorf("without a leader: %d %q", code, body)
	}
}

// TestGarbage: whoever does not speak TLS, or says nothing, is let go, and the port goes on serving.
func TestGarbage(t *testing.T) {
	r := newRig(t)
	var idle []net.Conn
	for i := range 200 {
		conn, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if i%2 == 0 {
			conn.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
			conn.SetDeadline(time.Now().Add(5 * time.Second))
			if _, err := io.ReadAll(conn); err != nil && !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
				t.Fatalf("garbage: %v", err)
			}
			continue
		}
		idle = append(idle, conn)
	}
	client, err := Dial(t.Context(), r.node(t, "w1", swarm.NodeRoleWorker), r.addr)
	if err != nil {
		t.Fatalf("with %d idle connections: %v", len(idle), err)
	}
	client.Close()
}

func TestErrorsKeepTheirClass(t *testing.T) {
	for _, c := range classes {
		got := fromStatus(toStatus(cluster.Errorf(c.class, "service x not found")))
		if got.Error() != "service x not found" {
			t.Errorf("%v: text %q", c.class, got)
		}
		if !errors.Is(c.class, errdefs.ErrConflict) && !errors.Is(got, c.class) {
			t.Errorf("%v: came back as %v", c.class, errors.Unwrap(got))
		}
	}
	if got := fromStatus(toStatus(errors.New("x"))); !errors.Is(got, errdefs.ErrUnknown) {
		t.Errorf("without a class: %v", got)
	}
	if !errors.Is(fromStatus(io.EOF), io.EOF) || toStatus(nil) != nil {
		t.Error("what is no status was changed")
	}
}

func TestFreeNumber(t *testing.T) {
	s := storetest.New(t)
	var got []uint16
	for _, taken := range []uint16{0, 1, 3, 2} {
		storetest.Update(t, s, func(tx *store.Tx) {
			n := &cluster.Node{Number: taken}
			n.ID = cluster.NewID()
			store.Nodes.Put(tx, n)
		})
		n, err := FreeNumber(s.View())
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, n)
	}
	if diff := cmp.Diff([]uint16{1, 2, 2, 4}, got); diff != "" {
		t.Error(diff)
	}
}
