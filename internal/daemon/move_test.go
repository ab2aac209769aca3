package daemon

import (
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
	"shoal/internal/store/storetest"
)

func TestWhereabouts(t *testing.T) {
	s := storetest.New(t)
	stored := func(addr string) {
		storetest.Update(t, s, func(tx *store.Tx) {
			n := &cluster.Node{Node: swarm.Node{ID: "m", ManagerStatus: &swarm.ManagerStatus{Addr: addr}}}
			store.Nodes.Put(tx, n)
		})
	}
	var w whereabouts
	want := func(addr string, known bool) {
		t.Helper()
		if got, ok := w.of("m", s.View()); got != addr || ok != known {
			t.Errorf("%q, %v, want %q", got, ok, addr)
		}
	}
	want("", false)
	stored("a:1")
	want("a:1", true)
	w.heard("m", "b:1")
	want("b:1", true)
	stored("b:1")
	want("b:1", true)
	stored("c:1") // what was heard has come to the store, and is over
	want("c:1", true)
}

func TestRelocate(t *testing.T) {
	for _, c := range []struct {
		name, want, was, data, addr, dataAddr string
		moved                                 bool
	}{
		{"nothing is said", "", "10.0.0.1:2377", "10.0.0.1", "10.0.0.1:2377", "10.0.0.1", false},
		{"the same", "10.0.0.1", "10.0.0.1:2377", "10.0.0.1", "10.0.0.1:2377", "10.0.0.1", false},
		{"another", "10.0.0.2", "10.0.0.1:2377", "10.0.0.1", "10.0.0.2:2377", "10.0.0.2", true},
		{"another port", "10.0.0.1:2400", "10.0.0.1:2377", "10.0.0.1", "10.0.0.1:2400", "10.0.0.1", true},
	} {
		n := testNode(t)
		n.cfg.MoveTo = c.want
		ms := &membership{NodeID: "n", ListenAddr: "127.0.0.1:2377", Advertise: netip.MustParseAddrPort(c.was), DataAddr: netip.MustParseAddr(c.data)}
		if err := os.MkdirAll(swarmDir(n.cfg.DataRoot), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := n.relocate(ms); err != nil {
			t.Fatal(err)
		}
		if ms.Advertise.String() != c.addr || ms.DataAddr.String() != c.dataAddr || ms.Moved != c.moved {
			t.Errorf("%s: %+v", c.name, ms)
		}
		if c.moved {
			if kept, err := loadMembership(n.cfg.DataRoot); err != nil || !kept.Moved || kept.Advertise != ms.Advertise {
				t.Errorf("%s: kept %+v, %v", c.name, kept, err)
			}
		}
	}
}

// The only manager of a swarm finds itself at its new address.
func TestMoveOfTheOnlyManager(t *testing.T) {
	old := swarmOf(t, false)
	if err := old.close(); err != nil {
		t.Fatal(err)
	}
	addr := freeAddr(t)
	n := newNode(Config{DataRoot: old.cfg.DataRoot, MoveTo: addr}, idle{}, unwired{}, old.emit, old.log)
	n.places = old.places
	ms, err := loadMembership(n.cfg.DataRoot)
	if err != nil {
		t.Fatal(err)
	}
	ms.ListenAddr = addr
	if err := ms.save(n.cfg.DataRoot); err != nil {
		t.Fatal(err)
	}
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	s := n.managing.store
	for v := s.View(); store.Nodes.Get(v, ms.NodeID) == nil || store.Nodes.Get(v, ms.NodeID).ManagerStatus.Addr != addr; v = s.View() {
		for _, err := range s.Watch(t.Context(), v.Index()) {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	if err := n.close(); err != nil {
		t.Fatal(err)
	}
}

func TestWhileProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at atomic.Uint64
		ctx, cancel := whileProgress(t.Context(), 2*time.Minute, at.Load)
		defer cancel()
		for range 100 {
			<-time.After(time.Minute)
			at.Add(1)
			if ctx.Err() != nil {
				t.Fatal("ended in the middle of progress")
			}
		}
		<-time.After(3 * time.Minute)
		if ctx.Err() == nil {
			t.Error("it stands still, and is waited for")
		}
	})
}
