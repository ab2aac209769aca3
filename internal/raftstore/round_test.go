package raftstore

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
)

// TestConfirmerShares: who comes while a question is under way gets the answer to the next one, all of them together.
func TestConfirmerShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan error)
		asked := 0
		c := confirmer{ask: func() error { asked++; return <-answer }}
		var first, second error
		var wg, later sync.WaitGroup
		wg.Go(func() { first = c.wait(t.Context()) })
		synctest.Wait()
		for range 10 {
			later.Go(func() {
				if err := c.wait(t.Context()); err != nil {
					second = err
				}
			})
		}
		synctest.Wait()
		if asked != 1 {
			t.Fatalf("asked %d times", asked)
		}
		answer <- errors.New("no")
		wg.Wait()
		synctest.Wait()
		if asked != 2 || first == nil {
			t.Fatalf("asked %d times, first %v", asked, first)
		}
		answer <- nil
		later.Wait()
		if second != nil || asked != 2 {
			t.Errorf("asked %d times; the later ones got %v", asked, second)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := c.wait(gone); !errors.Is(err, context.Canceled) {
			t.Errorf("after the caller is gone: %v", err)
		}
		answer <- nil
	})
}
