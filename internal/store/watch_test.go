package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"shoal/internal/cluster"
	"shoal/internal/store"
	"shoal/internal/store/storetest"
)

func TestWatch(t *testing.T) {
	s := storetest.New(t)
	write := func(f func(tx *store.Tx)) { storetest.Update(t, s, f) }
	write(func(tx *store.Tx) { store.Tasks.Put(tx, task("a", "web")) })
	write(func(tx *store.Tx) { store.Tasks.Put(tx, task("a", "db")) })
	write(func(tx *store.Tx) {
		store.Tasks.Put(tx, task("brief", "db"))
		store.Tasks.Delete(tx, "brief")
		store.Tasks.Delete(tx, "a")
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []string
	next := uint64(2)
	for e, err := range s.Watch(ctx, 1) {
		if err != nil || e.Index != next {
			t.Fatalf("event %d (%v), want %d", e.Index, err, next)
		}
		next++
		for _, c := range e.Changes {
			got = append(got, c.Table+": "+serviceOf(c.Old)+" to "+serviceOf(c.New))
		}
		switch e.Index {
		case 3: // the next one is still to come
			go storetest.Update(t, s, func(tx *store.Tx) { store.Tasks.Put(tx, task("c", "late")) })
		case 4:
			cancel() // ends the sequence
		}
	}
	want := []string{"tasks: web to db", "tasks: db to none", "tasks: none to late"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func serviceOf(o any) string {
	if o == nil {
		return "none"
	}
	return o.(*cluster.Task).ServiceID
}

func TestSlowWatcherIsBehind(t *testing.T) {
	s := storetest.New(t)
	storetest.Update(t, s, func(tx *store.Tx) { store.Tasks.Put(tx, task("a", "web")) })
	events := 0
	for e, err := range s.Watch(t.Context(), 0) {
		if err != nil {
			if !errors.Is(err, store.ErrBehind) {
				t.Errorf("error %v", err)
			}
			break
		}
		events++
		if e.Index == 1 { // while it looks at the first one, more happen than are kept
			for range 5000 {
				storetest.Update(t, s, func(tx *store.Tx) { store.Tasks.Put(tx, task("a", "web")) })
			}
		}
		if events > 1 {
			t.Fatalf("event %d was kept, with 5000 after it", e.Index)
		}
	}
	newest := s.Index()
	for e, err := range s.Watch(t.Context(), newest-100) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Index == newest {
			break
		}
	}
}

func TestRestoreEndsWatches(t *testing.T) {
	_, snapshot := filled(t)
	synctest.Test(t, func(t *testing.T) {
		s := store.New()
		ended := make(chan error, 1)
		go func() {
			for _, err := range s.Watch(t.Context(), 0) {
				ended <- err
			}
		}()
		synctest.Wait() // it waits for the first event
		if err := s.Restore(bytes.NewReader(snapshot)); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, store.ErrBehind) {
			t.Errorf("error %v", err)
		}
	})
}
