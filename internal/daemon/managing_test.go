package daemon

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

func TestLeadersLoopRunsAgainAfterItFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		m := &managing{log: slog.New(slog.DiscardHandler)}
		runs, began := 0, time.Now()
		m.keep(ctx, "test", func(ctx context.Context) error {
			if runs++; runs < 3 {
				return errors.New("the disk is full")
			}
			cancel()
			return ctx.Err()
		})
		if took := time.Since(began); runs != 3 || took != 2*loopAgain {
			t.Errorf("%d runs in %v, want 3 in %v", runs, took, 2*loopAgain)
		}
	})
}
