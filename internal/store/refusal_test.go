package store_test

import (
	"context"
	"errors"
	"testing"

	"shoal/internal/store"
)

// TestRefusalWaitsForWhatItHasSeen: a transaction that refuses may have seen a write that is not committed yet. Its refusal is
// told when that write is, and is no refusal if that write was not made.
func TestRefusalWaitsForWhatItHasSeen(t *testing.T) {
	taken := errors.New("the name is taken")
	for _, tc := range []struct {
		name         string
		answer, want error
	}{
		{"committed", nil, taken},
		{"not leader", store.ErrNotLeader, store.ErrNotLeader},
		{"unknown", store.ErrOutcomeUnknown, store.ErrNotLeader},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, p := store.New(), held{make(chan proposal)}
			s.Lead(p)
			defer s.Follow()
			first := put(s, "a")
			flying := <-p.entries
			refused, ran := make(chan error, 1), make(chan struct{})
			go func() {
				_, err := s.Update(context.Background(), func(tx *store.Tx) error {
					defer close(ran)
					if store.Tasks.Get(tx, "a") == nil {
						return errors.New("it does not see what was proposed before")
					}
					return taken
				})
				refused <- err
			}()
			<-ran
			second := put(s, "b") // the writer has taken what came before it
			select {
			case err := <-refused:
				t.Fatalf("refused with %v before what it has seen was committed", err)
			default:
			}
			if tc.answer == nil {
				if err := s.Apply(flying.entry); err != nil {
					t.Fatal(err)
				}
			}
			flying.answer <- tc.answer
			<-first
			if err := <-refused; !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			if tc.answer == nil {
				next := <-p.entries
				if err := s.Apply(next.entry); err != nil {
					t.Fatal(err)
				}
				next.answer <- nil
			}
			<-second
		})
	}
}
