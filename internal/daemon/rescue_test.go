package daemon

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/agent"
	"shoal/internal/api"
	"shoal/internal/ca"
	"shoal/internal/cluster"
	"shoal/internal/store"
)

// idle is a node without containers.
type idle struct{ agent.Executor }

func (idle) Describe(context.Context) (swarm.NodeDescription, error) {
	return swarm.NodeDescription{Hostname: "here"}, nil
}
func (idle) List(context.Context) ([]cluster.Running, error) { return nil, nil }

// unwired is a node without a network.
type unwired struct{}

func (unwired) Set(context.Context, cluster.NetworkState) error { return nil }
func (unwired) Identify(string)                                 {}

func testNode(t *testing.T) *node {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	n := newNode(Config{DataRoot: t.TempDir()}, idle{}, unwired{}, func(events.Message) {}, log)
	n.places = newPlaces(nil, log)
	t.Cleanup(func() {
		if err := n.close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// freeAddr is an address of this machine that nobody listens on.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// swarmOf makes a swarm, with a second manager in its store.
func swarmOf(t *testing.T, autolock bool) *node {
	t.Helper()
	n, addr := testNode(t), freeAddr(t)
	if _, err := n.Init(t.Context(), swarm.InitRequest{ListenAddr: addr, AdvertiseAddr: addr, AutoLockManagers: autolock}); err != nil {
		t.Fatal(err)
	}
	_, err := n.managing.store.Update(t.Context(), func(tx *store.Tx) error {
		other := &cluster.Node{Node: swarm.Node{ID: "other"}}
		other.Spec.Role, other.Description.Hostname = swarm.NodeRoleManager, "elsewhere"
		store.Nodes.Put(tx, other)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func backupOf(t *testing.T, n *node) []byte {
	t.Helper()
	file, err := n.Backup(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := file.WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// expire gives the node a certificate of the past.
func expire(t *testing.T, n *node) {
	t.Helper()
	root, err := ca.Signer(store.ClusterOf(n.managing.store.View()).Root)
	if err != nil {
		t.Fatal(err)
	}
	b := n.identity.Bundle()
	key, csr, err := ca.NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	b.Key = key
	if b.Chain, err = root.Sign(csr, n.identity.Subject(), ca.MinExpiry, time.Now().Add(-100*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := n.identity.Set(b); err != nil {
		t.Fatal(err)
	}
}

func TestRestoreGoesOnWithTheSwarm(t *testing.T) {
	old := swarmOf(t, false)
	was := old.managing.store.View()
	expire(t, old)
	file := backupOf(t, old)
	if err := old.close(); err != nil {
		t.Fatal(err)
	}
	n, addr := testNode(t), freeAddr(t)
	done, err := n.Restore(t.Context(), bytes.NewReader(file), api.RestoreRequest{ListenAddr: addr, AdvertiseAddr: addr})
	if err != nil {
		t.Fatal(err)
	}
	if done.NodeID != old.member.NodeID || done.Advertise != addr || done.Was != old.member.Advertise.String() || done.Locked || len(done.Lost) != 1 || done.Lost[0] != "elsewhere" {
		t.Errorf("told: %+v", done)
	}
	v := n.managing.store.View()
	c, before := store.ClusterOf(v), store.ClusterOf(was)
	if c.ID != before.ID || !bytes.Equal(c.Root.Key, before.Root.Key) || c.JoinTokens != before.JoinTokens {
		t.Errorf("another swarm")
	}
	if other := store.Nodes.Get(v, "other"); other.Spec.Role != swarm.NodeRoleWorker || other.Status.State != swarm.NodeStateDown {
		t.Errorf("the lost manager: %+v", other.Spec)
	}
	if self := store.Nodes.Get(v, done.NodeID); self.ManagerStatus == nil || self.ManagerStatus.Addr != addr {
		t.Errorf("this manager: %+v", self.ManagerStatus)
	}
	if n.identity.Leaf().NotAfter.Before(time.Now()) {
		t.Errorf("its certificate is still the old one")
	}
	if ms, err := loadMembership(n.cfg.DataRoot); err != nil || ms.Alone {
		t.Errorf("not settled: %+v, %v", ms, err)
	}
	if _, err := n.Restore(t.Context(), bytes.NewReader(file), api.RestoreRequest{}); !errdefs.IsUnavailable(err) {
		t.Errorf("restored twice: %v", err)
	}
}

func TestRestoreKeepsTheSeal(t *testing.T) {
	old := swarmOf(t, true)
	key := store.ClusterOf(old.managing.store.View()).UnlockKey
	file := backupOf(t, old)
	if bytes.Contains(file, old.identity.Bundle().Key[30:90]) || bytes.Contains(file, []byte("BEGIN PRIVATE KEY")) {
		t.Errorf("the backup shows a key")
	}
	if err := old.close(); err != nil {
		t.Fatal(err)
	}
	n, addr := testNode(t), freeAddr(t)
	done, err := n.Restore(t.Context(), bytes.NewReader(file), api.RestoreRequest{ListenAddr: addr, AdvertiseAddr: addr})
	if err != nil || !done.Locked {
		t.Fatalf("%+v, %v", done, err)
	}
	if _, err := n.Backup(t.Context(), true); !errors.Is(err, errLocked) {
		t.Errorf("backup of a locked manager: %v", err)
	}
	if err := n.Unlock(t.Context(), ca.FormatUnlockKey(ca.NewUnlockKey())); !errors.Is(err, errBadKey) {
		t.Errorf("another key: %v", err)
	}
	if err := n.Unlock(t.Context(), ca.FormatUnlockKey(key)); err != nil {
		t.Fatal(err)
	}
	if got := store.Nodes.Len(n.managing.store.View()); got != 2 {
		t.Errorf("%d nodes", got)
	}
}

func TestRestoreAppliesAllOrNothing(t *testing.T) {
	file := backupOf(t, swarmOf(t, false))
	flipped := func(at int) []byte {
		b := bytes.Clone(file)
		b[at] ^= 1
		return b
	}
	for name, broken := range map[string][]byte{
		"nothing": nil, "cut in the header": file[:200], "cut in the state": file[:len(file)-100], "cut in the checksum": file[:len(file)-1],
		"a flipped bit in the state": flipped(len(file) - 100), "one in the checksum": flipped(len(file) - 1), "one in the header": flipped(40),
		"more than there was": append(bytes.Clone(file), 0),
	} {
		n := testNode(t)
		_, err := n.Restore(t.Context(), bytes.NewReader(broken), api.RestoreRequest{AdvertiseAddr: freeAddr(t)})
		if !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", name, err)
		}
		if n.localState() != swarm.LocalNodeStateInactive {
			t.Errorf("%s: the node is %s", name, n.localState())
		}
		if left, err := os.ReadDir(n.cfg.DataRoot); len(left) > 0 || err != nil {
			t.Errorf("%s: left behind: %v, %v", name, left, err)
		}
	}
}

// A recovery that was broken off before the Raft group was changed takes nobody's role.
func TestSettleOfAGroupThatIsAsItWas(t *testing.T) {
	n := swarmOf(t, false)
	if err := n.managing.raft.AddNonvoter(t.Context(), "other", "127.0.0.1:1"); err != nil {
		t.Fatal(err)
	}
	ms := *n.member
	ms.Alone = true
	n.mu.Lock()
	n.member = &ms
	n.mu.Unlock()
	if err := n.settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if other := store.Nodes.Get(n.managing.store.View(), "other"); other.Spec.Role != swarm.NodeRoleManager {
		t.Errorf("the other manager lost its role")
	}
	if n.member.Alone {
		t.Errorf("the mark stays")
	}
}

func TestLookAtAStoppedManager(t *testing.T) {
	n := swarmOf(t, true) // what it tells needs no key
	if _, err := LookAt(n.cfg.DataRoot); !errdefs.IsConflict(err) {
		t.Errorf("a running manager: %v", err)
	}
	s, err := n.Survey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m := n.managing
	if err := n.close(); err != nil {
		t.Fatal(err)
	}
	d, err := LookAt(n.cfg.DataRoot)
	if err != nil {
		t.Fatal(err)
	}
	if d.ClusterID != s.ClusterID || d.NodeID != s.NodeID || d.Log != m.raft.Tail() || d.Log.Index < s.LogIndex || s.LogIndex == 0 {
		t.Errorf("the disk tells %+v, the manager told %+v", d, s)
	}
	empty := t.TempDir()
	if _, err := LookAt(empty); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty disk: %v", err)
	}
}

func TestKilledRestoreLeavesNothing(t *testing.T) {
	n := testNode(t)
	if err := os.MkdirAll(filepath.Join(n.cfg.DataRoot, "restore-123", "swarm"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(n.cfg.DataRoot); len(left) > 0 || err != nil {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestListenAgain(t *testing.T) {
	all := []link{{"eth0", []netip.Addr{netip.MustParseAddr("10.0.0.5")}}}
	for addr, want := range map[string]string{
		"0.0.0.0:2377": "0.0.0.0:2377", "10.0.0.5:2377": "10.0.0.5:2377", "10.0.0.9:2400": "0.0.0.0:2400",
	} {
		if got := listenAgain(addr, all); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}
