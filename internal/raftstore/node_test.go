package raftstore_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"shoal/internal/raftstore"
	"shoal/internal/store"
)

func key(b byte) *raftstore.Sealer { return raftstore.NewSealer([32]byte{b}) }

func TestRestartKeepsWhatWasAcknowledged(t *testing.T) {
	for name, seal := range map[string]*raftstore.Sealer{"plain": nil, "sealed": key(1)} {
		t.Run(name, func(t *testing.T) {
			config := raftstore.Config{Dir: t.TempDir(), ID: "n1", Bootstrap: true, Seal: seal}
			var index uint64
			for round := range 3 {
				m := start(t, config)
				m.awaitLead(t, true)
				if m.store.Index() != index {
					t.Fatalf("round %d: leads at store index %d, want %d", round, m.store.Index(), index)
				}
				for i := range 20 {
					m.mustWrite(t, fmt.Sprintf("r%d-%d", round, i))
				}
				index = m.store.Index()
				if round == 1 {
					if err := m.Snapshot(); err != nil {
						t.Fatal(err)
					}
				}
				if err := m.Close(); err != nil {
					t.Fatal(err)
				}
			}
			m := start(t, config)
			m.awaitLead(t, true)
			if got := store.Configs.Len(m.store.View()); got != 60 {
				t.Errorf("%d objects after the restarts, want 60", got)
			}
		})
	}
}

func TestSealedStateNeedsItsKey(t *testing.T) {
	dir := t.TempDir()
	config := raftstore.Config{Dir: dir, ID: "n1", Bootstrap: true, Seal: key(1)}
	m := start(t, config)
	m.awaitLead(t, true)
	secret := "a-name-to-look-for"
	m.mustWrite(t, secret)
	if err := m.Snapshot(); err != nil {
		t.Fatal(err)
	}
	m.mustWrite(t, secret+"-2")
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	files := 0
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		b, err := os.ReadFile(path)
		if strings.Contains(string(b), secret) {
			t.Errorf("%s holds the name in the clear", path)
		}
		return err
	})
	if err != nil || files < 4 {
		t.Fatalf("looked through %d files: %v", files, err)
	}
	for name, seal := range map[string]*raftstore.Sealer{"another key": key(2), "no key": nil} {
		c := config
		c.Seal = seal
		if _, err := open(t, c); !errors.Is(err, errdefs.ErrPermissionDenied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	m = start(t, config)
	m.awaitLead(t, true)
	m.await(t, secret+"-2")
}

func TestFailOver(t *testing.T) {
	members := group(t, 3, raftstore.Config{Seal: key(1)})
	old := members[0]
	old.mustWrite(t, "a")
	for _, m := range members[1:] {
		m.await(t, "a")
		if err := m.write("x"); !errors.Is(err, store.ErrNotLeader) {
			t.Errorf("write on a follower: %v", err)
		}
	}
	old.layer.setCut(true)
	// The cut-off leader does not know yet: its write is on its way and never comes to a majority.
	if err := old.write("lost"); !errors.Is(err, store.ErrOutcomeUnknown) && !errors.Is(err, store.ErrNotLeader) {
		t.Errorf("write of the cut-off leader: %v", err)
	}
	old.awaitLead(t, false)
	leader := members[1]
	select {
	case <-members[1].leads:
	case <-members[2].leads:
		leader = members[2]
	case <-time.After(patience):
		t.Fatal("nobody leads")
	}
	leader.mustWrite(t, "b")
	if err := old.write("refused"); !errors.Is(err, store.ErrNotLeader) {
		t.Errorf("write of a leader that knows it was overthrown: %v", err)
	}
	old.layer.setCut(false)
	old.await(t, "b")
	leader.mustWrite(t, "c")
	for _, m := range members {
		m.await(t, "c")
		if m.has("lost") || m.has("refused") {
			t.Errorf("%s has what was never committed", m.id)
		}
	}
	if old.Leader() != leader.id {
		t.Errorf("the old leader takes %q for the leader, want %s", old.Leader(), leader.id)
	}
}

func TestSilentFollowerIsSeen(t *testing.T) {
	members := group(t, 3, raftstore.Config{})
	leader := members[0]
	members[2].layer.setCut(true)
	await := func(want bool) {
		t.Helper()
		eventually(t, fmt.Sprint("n3 is reachable: ", want), func() bool { return leader.Servers()[2].Reachable == want })
	}
	await(false)
	err := leader.Demote(t.Context(), "n2")
	if !errors.Is(err, errdefs.ErrFailedPrecondition) || !strings.Contains(err.Error(), "unreachable: n3") {
		t.Errorf("demote of n2 while n3 is silent: %v", err)
	}
	members[2].layer.setCut(false)
	await(true)
	if err := leader.Demote(t.Context(), "n2"); err != nil {
		t.Errorf("demote: %v", err)
	}
	if err := leader.Remove(t.Context(), "n2"); err != nil {
		t.Errorf("remove: %v", err)
	}
	if got := leader.Servers(); len(got) != 2 || !got[0].Leader || !got[0].Voter {
		t.Errorf("servers: %+v", got)
	}
}

func TestTransferThenRemove(t *testing.T) {
	members := group(t, 3, raftstore.Config{})
	old := members[0]
	if err := old.Remove(t.Context(), "n1"); !errors.Is(err, errdefs.ErrFailedPrecondition) {
		t.Errorf("remove of the leader: %v", err)
	}
	if err := old.Transfer(); err != nil {
		t.Fatal(err)
	}
	old.awaitLead(t, false)
	leader := members[1]
	select {
	case <-members[1].leads:
	case <-members[2].leads:
		leader = members[2]
	case <-time.After(patience):
		t.Fatal("nobody leads")
	}
	if err := leader.Remove(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	leader.mustWrite(t, "after")
	for _, m := range members[1:] {
		m.await(t, "after")
	}
}

// TestLargeEntriesMakeSnapshots: some hundred entries of a size are a snapshot, long before ten thousand are.
func TestLargeEntriesMakeSnapshots(t *testing.T) {
	dir := t.TempDir()
	leader := start(t, raftstore.Config{Dir: dir, ID: "n1", Bootstrap: true, SnapshotBytes: 1 << 20})
	leader.awaitLead(t, true)
	written := func() bool {
		found, err := filepath.Glob(filepath.Join(dir, "snapshots", "*[0-9]"))
		if err != nil {
			t.Fatal(err)
		}
		return len(found) > 0
	}
	leader.mustWrite(t, "small")
	if written() {
		t.Error("a snapshot of next to nothing")
	}
	leader.fill(t, 2)
	over := time.After(patience)
	for !written() {
		select {
		case <-over:
			t.Fatal("two megabytes, and no snapshot")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// TestJoinBySnapshot adds a node when the log no longer has the beginning; the snapshot takes several sealed chunks.
func TestJoinBySnapshot(t *testing.T) {
	members := group(t, 1, raftstore.Config{Seal: key(1), Trailing: 1})
	leader := members[0]
	for i := range 400 {
		leader.mustWrite(t, fmt.Sprint("c", i))
	}
	if err := leader.Snapshot(); err != nil {
		t.Fatal(err)
	}
	leader.mustWrite(t, "after")
	m := start(t, raftstore.Config{Dir: t.TempDir(), ID: "n2", Seal: key(2)}) // every node has its own key
	join(t, leader, m)
	m.await(t, "after")
	if got, want := m.store.Index(), leader.store.Index(); got != want {
		t.Errorf("joined at %d, the leader is at %d", got, want)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestRecoverMakesOneVoter(t *testing.T) {
	var members []*member
	dir := t.TempDir()
	first := start(t, raftstore.Config{Dir: dir, ID: "n1", Bootstrap: true, Seal: key(1)})
	first.awaitLead(t, true)
	first.mustWrite(t, "first")
	for _, id := range []string{"n2", "n3"} {
		m := start(t, raftstore.Config{Dir: t.TempDir(), ID: id})
		join(t, first, m)
		members = append(members, m)
	}
	first.mustWrite(t, "last")
	for _, m := range append(members, first) {
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	l := newLayer(t)
	tr := raftstore.NewTransport(l, nil, nil)
	defer l.Close()
	if err := raftstore.Recover(raftstore.Config{Dir: t.TempDir(), ID: "n1", Transport: tr}); !errors.Is(err, errdefs.ErrFailedPrecondition) {
		t.Errorf("recover of nothing: %v", err)
	}
	if err := raftstore.Recover(raftstore.Config{Dir: dir, ID: "n1", Seal: key(1), Transport: raftstore.At(string(tr.LocalAddr()))}); err != nil {
		t.Fatal(err)
	}
	m := start(t, raftstore.Config{Dir: dir, ID: "n1", Seal: key(1)})
	m.awaitLead(t, true)
	if !m.has("first") || !m.has("last") {
		t.Errorf("recovered without its state")
	}
	m.mustWrite(t, "goes on")
	if got := m.Servers(); len(got) != 1 {
		t.Errorf("servers: %+v", got)
	}
}

func TestQuorum(t *testing.T) {
	voter := func(id string, reachable bool) raftstore.Server {
		return raftstore.Server{ID: id, Voter: true, Reachable: reachable}
	}
	for _, tc := range []struct {
		name    string
		servers []raftstore.Server
		without string
		refused string // part of the message; empty: allowed
	}{
		{"three, all there", []raftstore.Server{voter("a", true), voter("b", true), voter("c", true)}, "a", ""},
		{"two, all there", []raftstore.Server{voter("a", true), voter("b", true)}, "b", ""},
		{"the last one", []raftstore.Server{voter("a", true)}, "a", "last manager"},
		{"the last voter", []raftstore.Server{voter("a", true), {ID: "b", Reachable: true}}, "a", "last manager"},
		{"three, another is away", []raftstore.Server{voter("a", true), voter("b", true), voter("c", false)}, "b", "(unreachable: c)"},
		{"three, the one that is away goes", []raftstore.Server{voter("a", true), voter("b", true), voter("c", false)}, "c", ""},
		{"five, two away", []raftstore.Server{voter("a", true), voter("b", true), voter("c", true), voter("d", false), voter("e", false)}, "a", "(unreachable: d, e)"},
		{"a non-voter goes, quorum or not", []raftstore.Server{voter("a", true), voter("b", false), {ID: "c", Reachable: true}}, "c", ""},
		{"as it is, without a majority", []raftstore.Server{voter("a", true), voter("b", false)}, "", "1 of the 2"},
	} {
		err := raftstore.Quorum(tc.servers, tc.without)
		switch {
		case tc.refused == "" && err != nil:
			t.Errorf("%s: %v", tc.name, err)
		case tc.refused != "" && (!errors.Is(err, errdefs.ErrFailedPrecondition) || !strings.Contains(err.Error(), tc.refused)):
			t.Errorf("%s: %v, want %q", tc.name, err, tc.refused)
		}
	}
}

func TestMoveKeepsTheVote(t *testing.T) {
	members := group(t, 3, raftstore.Config{})
	leader := members[0]
	for range 2 { // the second one changes nothing
		if err := leader.Move(t.Context(), "n2", "10.0.0.9:2377"); err != nil {
			t.Fatal(err)
		}
	}
	if got := leader.Servers()[1]; got.Addr != "10.0.0.9:2377" || !got.Voter {
		t.Errorf("moved: %+v", got)
	}
	if err := leader.Move(t.Context(), "n9", "10.0.0.9:2377"); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("move of a stranger: %v", err)
	}
}
