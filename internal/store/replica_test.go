package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// recorder applies to all stores and keeps the entries.
type recorder struct {
	stores  []*store.Store
	entries [][]byte
}

func (r *recorder) Propose(_ context.Context, entry []byte) error {
	r.entries = append(r.entries, entry)
	for i, s := range r.stores {
		e := entry
		if i > 0 {
			e = bytes.Clone(entry) // a follower gets its own bytes
		}
		if err := s.Apply(e); err != nil {
			return err
		}
	}
	return nil
}

var exact = cmp.Options{cmpopts.EquateComparable(), cmpopts.EquateEmpty()}

func tasksOf(r store.Reader) map[string]*cluster.Task {
	all := map[string]*cluster.Task{}
	for t := range store.Tasks.All(r) {
		all[t.ID] = t
	}
	return all
}

// checkIndexes compares every index of the tasks with a walk over all of them.
func checkIndexes(t *rapid.T, r store.Reader, model map[string]*cluster.Task) {
	for name, index := range map[string]struct {
		index *store.Index[cluster.Task]
		keys  func(*cluster.Task) []string
	}{
		"service": {store.TaskService, func(t *cluster.Task) []string { return []string{t.ServiceID} }},
		"node":    {store.TaskNode, func(t *cluster.Task) []string { return []string{t.NodeID} }},
		"network": {store.TaskNetwork, func(t *cluster.Task) (keys []string) {
			for _, a := range t.Attachments {
				keys = append(keys, a.NetworkID)
			}
			return keys
		}},
	} {
		for _, key := range []string{"k0", "k1", "k2"} {
			var want []string
			for _, id := range slices.Sorted(maps.Keys(model)) {
				if slices.Contains(index.keys(model[id]), key) {
					want = append(want, id)
				}
			}
			if diff := cmp.Diff(want, taskIDs(store.Tasks.By(r, index.index, key))); diff != "" {
				t.Fatalf("index %s, key %s: %s", name, key, diff)
			}
		}
	}
}

// TestAgainstModel writes at random on a leader and holds it, a follower and a restored snapshot to a plain map.
func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		leader, follower := store.New(), store.New()
		leader.Lead(&recorder{stores: []*store.Store{leader, follower}})
		defer leader.Follow()
		model := map[string]*cluster.Task{}
		key := rapid.SampledFrom([]string{"", "k0", "k1", "k2"})
		id := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"})
		boom := errors.New("boom")
		for range rapid.IntRange(1, 30).Draw(t, "transactions") {
			fails := rapid.IntRange(0, 4).Draw(t, "fails") == 0
			next := maps.Clone(model)
			_, err := leader.Update(context.Background(), func(tx *store.Tx) error {
				for range rapid.IntRange(0, 12).Draw(t, "writes") {
					id := id.Draw(t, "id")
					if rapid.IntRange(0, 2).Draw(t, "delete") == 0 {
						if _, had := next[id]; store.Tasks.Delete(tx, id) != had {
							t.Fatal("delete is wrong about what was there")
						}
						delete(next, id)
						continue
					}
					o := &cluster.Task{ID: id, ServiceID: key.Draw(t, "service"), NodeID: key.Draw(t, "node")}
					for range rapid.IntRange(0, 2).Draw(t, "networks") {
						o.Attachments = append(o.Attachments, cluster.Attachment{NetworkID: key.Draw(t, "network")})
					}
					store.Tasks.Put(tx, o)
					next[id] = o
				}
				checkIndexes(t, tx, next)
				if fails {
					return boom
				}
				return nil
			})
			if fails != errors.Is(err, boom) || (err != nil && !fails) {
				t.Fatalf("update: %v", err)
			}
			if !fails {
				model = next
			}
			checkIndexes(t, leader.View(), model)
		}
		var snapshot bytes.Buffer
		if _, err := leader.Snapshot().WriteTo(&snapshot); err != nil {
			t.Fatal(err)
		}
		restored := store.New()
		if err := restored.Restore(&snapshot); err != nil {
			t.Fatal(err)
		}
		for name, s := range map[string]*store.Store{"leader": leader, "follower": follower, "restored": restored} {
			if s.Index() != leader.Index() {
				t.Fatalf("%s is at %d, the leader at %d", name, s.Index(), leader.Index())
			}
			if diff := cmp.Diff(model, tasksOf(s.View()), exact); diff != "" {
				t.Fatalf("%s: %s", name, diff)
			}
			checkIndexes(t, s.View(), model)
		}
	})
}

func TestApplyRefusesWithoutChange(t *testing.T) {
	leader := store.New()
	r := &recorder{stores: []*store.Store{leader}}
	leader.Lead(r)
	defer leader.Follow()
	for i := range 2 {
		if err := <-put(leader, fmt.Sprint("t", i)); err != nil {
			t.Fatal(err)
		}
	}
	encode := func(v any) []byte {
		b, err := cluster.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	object := encode(task("x", "web"))
	type list = []any
	for name, entry := range map[string][]byte{
		"empty":            {},
		"not CBOR":         []byte("hello"),
		"cut short":        r.entries[0][:len(r.entries[0])-3],
		"later base":       r.entries[1],
		"unknown format":   encode(list{9, 0, "2026-01-01T00:00:00Z", list{}}),
		"unknown table":    encode(list{1, 0, "2026-01-01T00:00:00Z", list{list{list{99, "x", object}}}}),
		"negative table":   encode(list{1, 0, "2026-01-01T00:00:00Z", list{list{list{-1, "x", object}}}}),
		"another ID":       encode(list{1, 0, "2026-01-01T00:00:00Z", list{list{list{4, "y", object}}}}),
		"broken object":    encode(list{1, 0, "2026-01-01T00:00:00Z", list{list{list{4, "x", []byte{0xff}}}}}),
		"second one wrong": encode(list{1, 0, "2026-01-01T00:00:00Z", list{list{list{4, "x", object}, list{4, "y", object}}}}),
	} {
		s := store.New()
		if err := s.Apply(entry); err == nil {
			t.Errorf("%s: applied", name)
		} else if name == "later base" && !errors.Is(err, store.ErrStale) {
			t.Errorf("%s: %v", name, err)
		}
		if s.Index() != 0 || store.Tasks.Len(s.View()) != 0 {
			t.Errorf("%s: it changed the store", name)
		}
		if err := s.Apply(bytes.Clone(r.entries[0])); err != nil {
			t.Errorf("%s: and then: %v", name, err)
		}
	}
}

func FuzzApply(f *testing.F) {
	leader := store.New()
	r := &recorder{stores: []*store.Store{leader}}
	leader.Lead(r)
	f.Cleanup(leader.Follow)
	if err := <-put(leader, "a"); err != nil {
		f.Fatal(err)
	}
	f.Add(r.entries[0])
	f.Fuzz(func(t *testing.T, entry []byte) {
		s := store.New()
		if err := s.Apply(entry); err != nil && s.Index() != 0 {
			t.Errorf("refused, yet the index is %d", s.Index())
		}
	})
}
