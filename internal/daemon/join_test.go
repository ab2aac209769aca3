package daemon

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"

	"shoal/internal/cluster"
)

// TestOverElection: a join waits for a leader, and for nothing else.
func TestOverElection(t *testing.T) {
	away := cluster.Errorf(errdefs.ErrUnavailable, "no leader")
	refused := cluster.Errorf(errdefs.ErrPermissionDenied, "no")
	for _, test := range []struct {
		name    string
		answers []error // the last one again and again
		patient time.Duration
		want    error
		tries   int
	}{
		{"at once", []error{nil}, time.Hour, nil, 1},
		{"after an election", []error{away, away, nil}, time.Hour, nil, 3},
		{"refused", []error{refused}, time.Hour, refused, 1},
		{"refused by the new leader", []error{away, refused}, time.Hour, refused, 2},
		{"nobody is elected", []error{away}, time.Hour, away, int(electionTime/joinAgain) + 2},
		{"the caller has gone", []error{away}, time.Second, away, int(time.Second / joinAgain)},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), test.patient-time.Millisecond)
				defer cancel()
				tries := 0
				err := overElection(ctx, func() error {
					tries++
					return test.answers[min(tries, len(test.answers))-1]
				})
				if !errors.Is(err, test.want) || tries != test.tries {
					t.Errorf("%v after %d tries, want %v after %d", err, tries, test.want, test.tries)
				}
			})
		})
	}
}
