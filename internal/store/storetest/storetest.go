// Package storetest gives other packages' tests a store that works: one that leads and commits at once, in memory.
package storetest

import (
	"context"
	"testing"

	"shoal/internal/store"
)

// New returns an empty store that leads until the test ends.
func New(t testing.TB) *store.Store {
	t.Helper()
	s := store.New()
	s.Lead(Proposer{s})
	t.Cleanup(s.Follow)
	return s
}

// Proposer commits an entry by applying it to one store.
type Proposer struct{ Store *store.Store }

// Propose applies the entry.
func (p Proposer) Propose(_ context.Context, entry []byte) error { return p.Store.Apply(entry) }

// Update runs f on s and ends the test if that fails. It returns the transaction's index.
func Update(t testing.TB, s *store.Store, f func(tx *store.Tx)) uint64 {
	t.Helper()
	index, err := s.Update(t.Context(), func(tx *store.Tx) error {
		f(tx)
		return nil
	})
	if err != nil {
		t.Fatalf("update: %v", err)
	}
	return index
}
