package ca

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

var alice = Subject{NodeID: "alice", ClusterID: "c1", Role: swarm.NodeRoleManager}

// newRoot makes a root and its signer.
func newRoot(t *testing.T) (*Root, []byte) {
	t.Helper()
	cert, key, err := NewRoot(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	root, err := ParseRoot(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return root, key
}

// bundleOf is a node's bundle under root.
func bundleOf(t *testing.T, root *Root, s Subject, expiry time.Duration, now time.Time) Bundle {
	t.Helper()
	key, csr, err := NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	chain, err := root.Sign(csr, s, expiry, now)
	if err != nil {
		t.Fatal(err)
	}
	return Bundle{Chain: chain, Key: key, Root: root.PEM}
}

func identityOf(t *testing.T, b Bundle) *Identity {
	t.Helper()
	i, err := NewIdentity(b)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestSignSaysWhoAndHowLong(t *testing.T) {
	root, _ := newRoot(t)
	now := time.Now()
	for name, test := range map[string]struct{ asked, want time.Duration }{
		"default": {0, DefaultExpiry}, "asked": {48 * time.Hour, 48 * time.Hour}, "too short": {time.Minute, MinExpiry},
		"longer than the root": {RootLife * 2, RootLife},
	} {
		leaf := identityOf(t, bundleOf(t, root, alice, test.asked, now)).Leaf()
		if got, err := SubjectOf(leaf); err != nil || got != alice {
			t.Errorf("%s: subject %v, %v", name, got, err)
		}
		if got := leaf.NotAfter.Sub(now); got.Round(time.Minute) != test.want.Round(time.Minute) {
			t.Errorf("%s: valid for %s, want %s", name, got, test.want)
		}
		if got := now.Sub(leaf.NotBefore); got.Round(time.Minute) != time.Hour {
			t.Errorf("%s: back-dated by %s", name, got)
		}
		want := []string{"swarm-manager", "alice", "swarm-ca"}
		if diff := cmp.Diff(want, leaf.DNSNames); diff != "" {
			t.Errorf("%s: names (-want +got)\n%s", name, diff)
		}
	}
}

func TestRenewAt(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	cert := &x509.Certificate{NotBefore: begin.Add(-time.Hour), NotAfter: begin.Add(100 * time.Hour)}
	for random, want := range map[float64]time.Duration{0: 50 * time.Hour, 0.5: 65 * time.Hour, 1: 80 * time.Hour} {
		if got := RenewAt(cert, random).Sub(begin); got.Round(time.Second) != want {
			t.Errorf("random %v: after %s, want %s", random, got, want)
		}
	}
}

func TestTokens(t *testing.T) {
	root, _ := newRoot(t)
	other, _ := newRoot(t)
	text, err := NewToken(root.PEM)
	if err != nil {
		t.Fatal(err)
	}
	token, err := ParseToken(text)
	if err != nil || token.String() != text {
		t.Fatalf("%q reads back as %q, %v", text, token, err)
	}
	if _, err := token.Trusted(root.PEM); err != nil {
		t.Errorf("its own root: %v", err)
	}
	if got, err := token.Trusted(append(bytes.Clone(other.PEM), root.PEM...)); err != nil || !bytes.Equal(got, root.PEM) {
		t.Errorf("out of a bundle: %v", err)
	}
	if _, err := token.Trusted(other.PEM); !errors.Is(err, errdefs.ErrPermissionDenied) {
		t.Errorf("another root: %v", err)
	}
	for _, bad := range []string{"", "SWMTKN-1-", text + "x", "SWMTKN-2-" + text[9:], strings.ToUpper(text), text[:30]} {
		if _, err := ParseToken(bad); err == nil {
			t.Errorf("%q was taken for a token", bad)
		}
	}
	if SameToken("", "") || SameToken(text, text[:len(text)-1]) || !SameToken(text, text) {
		t.Error("SameToken is wrong")
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add("SWMTKN-1-" + strings.Repeat("0", 50) + "-" + strings.Repeat("z", 25))
	f.Fuzz(func(t *testing.T, s string) {
		if token, err := ParseToken(s); err == nil && token.String() != s {
			t.Errorf("%q reads back as %q", s, token)
		}
	})
}

func TestUnlockKey(t *testing.T) {
	key := NewUnlockKey()
	back, err := ParseUnlockKey(FormatUnlockKey(key))
	if err != nil || !bytes.Equal(key, back) {
		t.Fatalf("reads back as %x, %v", back, err)
	}
	for _, bad := range []string{"", "SWMKEY-1-", "SWMKEY-1-AAAA", "nonsense"} {
		if _, err := ParseUnlockKey(bad); err == nil {
			t.Errorf("%q was taken for a key", bad)
		}
	}
}

func TestParseRootRefuses(t *testing.T) {
	root, key := newRoot(t)
	_, otherKey := newRoot(t)
	node := bundleOf(t, root, alice, 0, time.Now())
	for name, test := range map[string]struct{ cert, key []byte }{
		"no PEM":           {[]byte("x"), nil},
		"nothing":          {nil, nil},
		"a node's":         {node.Chain, nil},
		"another's key":    {root.PEM, otherKey},
		"a key of garbage": {root.PEM, []byte("x")},
	} {
		if _, err := ParseRoot(test.cert, test.key); !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ParseRoot(root.PEM, key); err != nil {
		t.Errorf("a good one: %v", err)
	}
}

func TestFilesSealAndOpen(t *testing.T) {
	root, _ := newRoot(t)
	want := bundleOf(t, root, alice, 0, time.Now())
	want.DataKey = NewUnlockKey()
	files := Files{filepath.Join(t.TempDir(), "certificates")}
	if _, err := files.Load(nil); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("nothing there: %v", err)
	}
	key := NewUnlockKey()
	for _, sealing := range [][]byte{nil, key} { // sealed in the end
		if err := files.Save(want, sealing); err != nil {
			t.Fatal(err)
		}
		got, err := files.Load(sealing)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("sealed %v: %v (-want +got)\n%s", sealing != nil, err, diff)
		}
	}
	for name, wrong := range map[string][]byte{"no key": nil, "another key": NewUnlockKey()} {
		b, err := files.Load(wrong)
		if !errors.Is(err, ErrLocked) || b.Key != nil || b.DataKey != nil || !bytes.Equal(b.Chain, want.Chain) {
			t.Errorf("%s: %v", name, err)
		}
	}
	text, err := os.ReadFile(filepath.Join(files.Dir, nodeFile))
	if err != nil || bytes.Contains(text, []byte("BEGIN PRIVATE KEY")) {
		t.Errorf("the sealed file shows its key (%v)", err)
	}
	info, err := os.Stat(filepath.Join(files.Dir, nodeFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(files.Dir, "*")); len(left) != 2 {
		t.Errorf("files left behind: %v", left)
	}
}

// shake makes a handshake between two configurations and returns both sides' errors.
func shake(t *testing.T, client, server *tls.Config) (clientErr, serverErr error) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	deadline := time.Now().Add(10 * time.Second)
	a.SetDeadline(deadline)
	b.SetDeadline(deadline)
	done := make(chan error, 1)
	go func() {
		conn := tls.Server(b, server)
		err := conn.Handshake()
		if err == nil {
			_, err = conn.Write([]byte("x"))
		}
		b.Close()
		done <- err
	}()
	conn := tls.Client(a, client)
	_, clientErr = conn.Read(make([]byte, 1)) // a refused client certificate shows at the first read
	a.Close()
	return clientErr, <-done
}

func TestHandshakes(t *testing.T) {
	root, _ := newRoot(t)
	other, _ := newRoot(t)
	now := time.Now()
	manager := identityOf(t, bundleOf(t, root, alice, 0, now))
	worker := identityOf(t, bundleOf(t, root, Subject{"bob", "c1", swarm.NodeRoleWorker}, 0, now))
	expired := identityOf(t, bundleOf(t, root, Subject{"eve", "c1", swarm.NodeRoleWorker}, time.Hour, now.Add(-3*time.Hour)))
	stranger := identityOf(t, bundleOf(t, other, Subject{"bob", "c1", swarm.NodeRoleManager}, 0, now))
	foreign := identityOf(t, bundleOf(t, root, Subject{"bob", "c2", swarm.NodeRoleManager}, 0, now))
	nobody, err := Anonymous(root.PEM)
	if err != nil {
		t.Fatal(err)
	}
	trusting, err := Anonymous(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		client, server *tls.Config
		ok             bool
	}{
		"worker to manager":             {worker.Client(), manager.Server(), true},
		"manager to manager":            {manager.Client(), manager.Server(), true},
		"nobody to manager":             {nobody, manager.Server(), true},
		"whoever to manager":            {trusting, manager.Server(), true},
		"expired to manager":            {expired.Client(), manager.Server(), false},
		"another root's to manager":     {stranger.Client(), manager.Server(), false},
		"another cluster's to manager":  {foreign.Client(), manager.Server(), false},
		"worker to worker":              {worker.Client(), worker.Server(), false},
		"nobody to worker":              {nobody, worker.Server(), false},
		"nobody to another root's":      {nobody, stranger.Server(), false},
		"worker to another cluster's":   {worker.Client(), foreign.Server(), false},
		"manager to an expired manager": {manager.Client(), expired.Server(), false},
	} {
		c, s := shake(t, test.client, test.server)
		if (c == nil && s == nil) != test.ok {
			t.Errorf("%s: client %v, server %v", name, c, s)
		}
	}
}

func TestRenewalNeedsNoNewConfig(t *testing.T) {
	root, _ := newRoot(t)
	now := time.Now()
	manager := identityOf(t, bundleOf(t, root, alice, time.Hour, now.Add(-3*time.Hour)))
	client := identityOf(t, bundleOf(t, root, Subject{"bob", "c1", swarm.NodeRoleWorker}, 0, now))
	server := manager.Server()
	if c, s := shake(t, client.Client(), server); c == nil && s == nil {
		t.Fatal("an expired server was believed")
	}
	changed := manager.Changed()
	if err := manager.Set(bundleOf(t, root, alice, 0, now)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	default:
		t.Error("Changed was not closed")
	}
	if c, s := shake(t, client.Client(), server); c != nil || s != nil {
		t.Errorf("after the renewal: client %v, server %v", c, s)
	}
	if err := manager.Set(bundleOf(t, root, Subject{"mallory", "c1", swarm.NodeRoleManager}, 0, now)); err == nil {
		t.Error("another node's certificate was taken over")
	}
}

// TestRotation moves a cluster of two nodes to a new root, and shakes hands between all states of trust on the way.
func TestRotation(t *testing.T) {
	old, oldKey := newRoot(t)
	now := time.Now()
	trust := cluster.RootCA{Cert: old.PEM, Key: oldKey}
	nextCert, nextKey, err := NewRoot(now)
	if err != nil {
		t.Fatal(err)
	}
	trust, err = StartRotation(trust, nextCert, nextKey, now)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := Signer(trust)
	if err != nil {
		t.Fatal(err)
	}
	bob := Subject{"bob", "c1", swarm.NodeRoleWorker}
	before := identityOf(t, bundleOf(t, old, bob, 0, now)) // trusts the old root alone
	moved := bundleOf(t, signer, alice, 0, now)
	moved.Root = trust.Cert
	manager := identityOf(t, moved)
	if c, s := shake(t, before.Client(), manager.Server()); c != nil || s != nil {
		t.Errorf("a node that knows only the old root and a moved manager: client %v, server %v", c, s)
	}
	if !MustMove(before.Leaf(), trust.Cert) || MustMove(manager.Leaf(), trust.Cert) {
		t.Error("MustMove is wrong")
	}
	node := func(i *Identity) *cluster.Node {
		n := &cluster.Node{}
		n.Description.TLSInfo = i.TLSInfo()
		return n
	}
	c := &cluster.Cluster{Root: trust}
	c.RootRotationInProgress = true
	if done, err := Finish(c, slices.Values([]*cluster.Node{node(manager), node(before)})); done != nil || err != nil {
		t.Errorf("finished with a node left behind: %v", err)
	}
	after := bundleOf(t, signer, bob, 0, now)
	after.Root = trust.Cert
	done, err := Finish(c, slices.Values([]*cluster.Node{node(manager), node(identityOf(t, after))}))
	if err != nil || done == nil || done.RootRotationInProgress || done.Root.Next != nil || !bytes.Equal(done.Root.Cert, nextCert) {
		t.Fatalf("not finished: %v %+v", err, done)
	}
	token, err := ParseToken(done.JoinTokens.Worker)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := token.Trusted(nextCert); err != nil {
		t.Errorf("new token: %v", err)
	}
}
