package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
	"shoal/internal/store/storetest"
)

func task(id, service string) *cluster.Task {
	return &cluster.Task{ID: id, ServiceID: service, DesiredState: swarm.TaskStateRunning}
}

func service(id, name string) *cluster.Service {
	s := &cluster.Service{}
	s.ID, s.Spec.Name = id, name
	return s
}

func ids[T any](t *store.Table[T], objects func(func(*T) bool), id func(*T) string) []string {
	var got []string
	for o := range objects {
		got = append(got, id(o))
	}
	return got
}

func taskIDs(objects func(func(*cluster.Task) bool)) []string {
	return ids(store.Tasks, objects, func(t *cluster.Task) string { return t.ID })
}

func TestTransactionSeesItselfAndLeavesViewsAlone(t *testing.T) {
	s := storetest.New(t)
	before := s.View()
	first := storetest.Update(t, s, func(tx *store.Tx) {
		store.Tasks.Put(tx, task("b", "web"))
		store.Tasks.Put(tx, task("a", "web"))
		store.Tasks.Put(tx, task("c", "db"))
		if got := taskIDs(store.Tasks.By(tx, store.TaskService, "web")); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("inside the transaction: %v", got)
		}
	})
	middle := s.View()
	second := storetest.Update(t, s, func(tx *store.Tx) {
		for o := range store.Tasks.By(tx, store.TaskService, "web") { // to write while walking is allowed
			moved := *o
			moved.ServiceID = "db"
			store.Tasks.Put(tx, &moved)
		}
		store.Tasks.Delete(tx, "c")
	})
	if first != 1 || second != 2 || s.Index() != 2 {
		t.Errorf("indexes %d, %d, store at %d", first, second, s.Index())
	}
	if got := store.Tasks.Len(before); got != 0 {
		t.Errorf("the first view has %d tasks", got)
	}
	if got := taskIDs(store.Tasks.By(middle, store.TaskService, "web")); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("the middle view has %v", got)
	}
	after := s.View()
	if got := taskIDs(store.Tasks.By(after, store.TaskService, "db")); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("afterwards: %v", got)
	}
	a := store.Tasks.Get(after, "a")
	if a.Version.Index != 2 || !a.CreatedAt.Equal(store.Tasks.Get(middle, "a").CreatedAt) || a.UpdatedAt.Before(a.CreatedAt) {
		t.Errorf("meta: %+v", a.Meta)
	}
}

func TestPutOfTheObjectItself(t *testing.T) {
	s := storetest.New(t)
	storetest.Update(t, s, func(tx *store.Tx) { store.Tasks.Put(tx, task("a", "web")) })
	before := s.View()
	storetest.Update(t, s, func(tx *store.Tx) { store.Tasks.Put(tx, store.Tasks.Get(tx, "a")) })
	if got := store.Tasks.Get(before, "a").Version.Index; got != 1 {
		t.Errorf("the old view's object has version %d", got)
	}
	if got := store.Tasks.Get(s.View(), "a").Version.Index; got != 2 {
		t.Errorf("version %d, want 2", got)
	}
}

func TestFind(t *testing.T) {
	s := storetest.New(t)
	storetest.Update(t, s, func(tx *store.Tx) {
		store.Services.Put(tx, service("abc1", "web"))
		store.Services.Put(tx, service("abc2", "abc1")) // a name that is another's ID
		store.Services.Put(tx, service("xyz3", "db"))
		n1, n2 := &cluster.Node{}, &cluster.Node{}
		n1.ID, n1.Description.Hostname = "n1", "host"
		n2.ID, n2.Description.Hostname = "n2", "host"
		store.Nodes.Put(tx, n1)
		store.Nodes.Put(tx, n2)
	})
	for _, tc := range []struct {
		ref, want, text string
		class           error
	}{
		{ref: "abc1", want: "abc1"},
		{ref: "web", want: "abc1"},
		{ref: "x", want: "xyz3"},
		{ref: "abc", text: "service abc is ambiguous (2 matches found)", class: errdefs.ErrInvalidArgument},
		{ref: "we", text: "service we not found", class: errdefs.ErrNotFound},
		{ref: "", text: "service  not found", class: errdefs.ErrNotFound},
	} {
		got, err := store.Services.Find(s.View(), tc.ref)
		if tc.class != nil {
			if err == nil || err.Error() != tc.text || !errors.Is(err, tc.class) {
				t.Errorf("%q: error %v, want %q", tc.ref, err, tc.text)
			}
			continue
		}
		if err != nil || got.ID != tc.want {
			t.Errorf("%q: %v, %v; want %s", tc.ref, got, err, tc.want)
		}
	}
	if _, err := store.Nodes.Find(s.View(), "host"); err == nil || err.Error() != "node host is ambiguous (2 matches found)" {
		t.Errorf("two nodes of a name: %v", err)
	}
}

func TestFailureDropsOnlyItsOwnChanges(t *testing.T) {
	s := storetest.New(t)
	storetest.Update(t, s, func(tx *store.Tx) { store.Tasks.Put(tx, task("a", "web")) })
	failure := errors.New("no")
	_, err := s.Update(t.Context(), func(tx *store.Tx) error {
		store.Tasks.Delete(tx, "a")
		store.Tasks.Put(tx, task("a", "db"))
		for i := range 20 {
			store.Tasks.Put(tx, task(fmt.Sprint(i), "db"))
		}
		return failure
	})
	if !errors.Is(err, failure) {
		t.Fatalf("error %v", err)
	}
	func() {
		defer func() { _ = recover() }()
		_, _ = s.Update(t.Context(), func(tx *store.Tx) error {
			store.Tasks.Delete(tx, "a")
			panic("as a bug would")
		})
	}()
	storetest.Update(t, s, func(tx *store.Tx) {
		store.Tasks.Put(tx, task("b", "web"))
		if got := taskIDs(store.Tasks.All(tx)); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("the next transaction sees %v", got)
		}
		if got := taskIDs(store.Tasks.By(tx, store.TaskService, "db")); len(got) != 0 {
			t.Errorf("the next transaction finds by index %v", got)
		}
	})
	if s.Index() != 2 {
		t.Errorf("index %d, want 2", s.Index())
	}
}

func TestFollowerRefuses(t *testing.T) {
	s := store.New()
	write := func(tx *store.Tx) error { store.Tasks.Put(tx, task("a", "web")); return nil }
	if _, err := s.Update(t.Context(), write); !errors.Is(err, store.ErrNotLeader) {
		t.Errorf("before: %v", err)
	}
	s.Lead(storetest.Proposer{Store: s})
	if _, err := s.Update(t.Context(), write); err != nil {
		t.Errorf("while leading: %v", err)
	}
	s.Follow()
	if _, err := s.Update(t.Context(), write); !errors.Is(err, store.ErrNotLeader) {
		t.Errorf("afterwards: %v", err)
	}
}

func TestTooLarge(t *testing.T) {
	s := storetest.New(t)
	_, err := s.Update(t.Context(), func(tx *store.Tx) error {
		c := &cluster.Config{}
		c.ID, c.Spec.Data = "c", make([]byte, store.MaxTransaction)
		store.Configs.Put(tx, c)
		return nil
	})
	if !errors.Is(err, store.ErrTooLarge) {
		t.Fatalf("error %v", err)
	}
	if i := storetest.Update(t, s, func(tx *store.Tx) { store.Tasks.Put(tx, task("a", "web")) }); i != 1 {
		t.Errorf("the next transaction has index %d", i)
	}
}

// TestManyWriters has every writer add to one counter: nothing may be lost, and indexes must be unique.
func TestManyWriters(t *testing.T) {
	s := storetest.New(t)
	storetest.Update(t, s, func(tx *store.Tx) { store.Tasks.Put(tx, task("count", "web")) })
	const writers, each = 16, 50
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[uint64]bool{}
	for range writers {
		wg.Go(func() {
			for range each {
				index, err := s.Update(context.Background(), func(tx *store.Tx) error {
					next := *store.Tasks.Get(tx, "count")
					next.Slot++
					store.Tasks.Put(tx, &next)
					return nil
				})
				if err != nil {
					t.Error(err)
				}
				if s.Index() < index {
					t.Errorf("transaction %d is acknowledged, and the view is at %d", index, s.Index())
				}
				mu.Lock()
				seen[index] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if got := store.Tasks.Get(s.View(), "count").Slot; got != writers*each || len(seen) != writers*each {
		t.Errorf("counted %d, %d indexes; want %d", got, len(seen), writers*each)
	}
}

// held is a proposer whose entries wait until the test decides about them.
type held struct{ entries chan proposal }

type proposal struct {
	entry  []byte
	answer chan error
}

func (h held) Propose(ctx context.Context, entry []byte) error {
	p := proposal{entry, make(chan error)}
	h.entries <- p
	select {
	case err := <-p.answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func put(s *store.Store, id string) chan error {
	done, made := make(chan error, 1), make(chan struct{})
	go func() {
		_, err := s.Update(context.Background(), func(tx *store.Tx) error {
			defer close(made)
			store.Tasks.Put(tx, task(id, "web"))
			return nil
		})
		done <- err
	}()
	<-made
	return done
}

func TestGroupCommitAndFailedProposals(t *testing.T) {
	disk := errors.New("no space left")
	for _, tc := range []struct {
		name          string
		answer        error
		first, second error
	}{
		{"committed", nil, nil, nil},
		{"not leader", store.ErrNotLeader, store.ErrNotLeader, store.ErrNotLeader},
		{"unknown", store.ErrOutcomeUnknown, store.ErrOutcomeUnknown, store.ErrNotLeader},
		{"timeout", context.DeadlineExceeded, store.ErrOutcomeUnknown, store.ErrNotLeader},
		{"refused", disk, disk, disk},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, p := store.New(), held{make(chan proposal)}
			s.Lead(p)
			defer s.Follow()
			first := put(s, "a")
			flying := <-p.entries
			second, third := put(s, "b"), put(s, "c") // they share the next entry
			if tc.answer == nil {
				if err := s.Apply(flying.entry); err != nil {
					t.Fatal(err)
				}
			}
			flying.answer <- tc.answer
			if err := <-first; !errors.Is(err, tc.first) {
				t.Errorf("on its way: %v, want %v", err, tc.first)
			}
			if tc.answer == nil {
				next := <-p.entries
				if err := s.Apply(next.entry); err != nil {
					t.Fatal(err)
				}
				next.answer <- nil
			}
			for _, done := range []chan error{second, third} {
				if err := <-done; !errors.Is(err, tc.second) {
					t.Errorf("waiting: %v, want %v", err, tc.second)
				}
			}
			// The next one is made on what is really there.
			last := put(s, "d")
			next := <-p.entries
			if err := s.Apply(next.entry); err != nil {
				t.Fatal(err)
			}
			next.answer <- nil
			if err := <-last; err != nil {
				t.Error(err)
			}
			want := []string{"d"}
			if tc.answer == nil {
				want = []string{"a", "b", "c", "d"}
			}
			if diff := cmp.Diff(want, taskIDs(store.Tasks.All(s.View()))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestUnknownMayStillApply has an entry whose outcome was unknown come after all, before the next one.
func TestUnknownMayStillApply(t *testing.T) {
	s, p := store.New(), held{make(chan proposal)}
	s.Lead(p)
	defer s.Follow()
	first := put(s, "a")
	ghost := <-p.entries
	ghost.answer <- store.ErrOutcomeUnknown
	if err := <-first; !errors.Is(err, store.ErrOutcomeUnknown) {
		t.Fatal(err)
	}
	second := put(s, "b")
	next := <-p.entries
	if err := s.Apply(ghost.entry); err != nil {
		t.Fatal(err)
	}
	err := s.Apply(next.entry)
	if !errors.Is(err, store.ErrStale) {
		t.Fatalf("an entry on the wrong base: %v", err)
	}
	next.answer <- err
	if err := <-second; !errors.Is(err, store.ErrNotLeader) {
		t.Errorf("made on another state: %v", err)
	}
	if got := taskIDs(store.Tasks.All(s.View())); !slices.Equal(got, []string{"a"}) {
		t.Errorf("state: %v", got)
	}
	third := put(s, "c")
	next = <-p.entries
	if err := s.Apply(next.entry); err != nil {
		t.Fatal(err)
	}
	next.answer <- nil
	if err := <-third; err != nil {
		t.Error(err)
	}
}

func TestFollowWhileWaiting(t *testing.T) {
	s, p := store.New(), held{make(chan proposal)}
	s.Lead(p)
	first := put(s, "a")
	<-p.entries
	second := put(s, "b")
	s.Follow()
	if err := <-first; !errors.Is(err, store.ErrOutcomeUnknown) {
		t.Errorf("on its way: %v", err)
	}
	if err := <-second; !errors.Is(err, store.ErrNotLeader) {
		t.Errorf("waiting: %v", err)
	}
}

func TestCheckVersion(t *testing.T) {
	if err := store.CheckVersion(3, 3); err != nil {
		t.Error(err)
	}
	if err := store.CheckVersion(4, 3); !errors.Is(err, store.ErrSequence) || err.Error() != "update out of sequence" {
		t.Error(err)
	}
}
