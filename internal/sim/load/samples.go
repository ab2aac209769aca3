package load

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"
)

// samples are how long calls took.
type samples struct {
	mu     sync.Mutex
	took   []time.Duration
	failed int
}

func (s *samples) add(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.took = append(s.took, d)
}

func (s *samples) fail() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed++
}

func (s *samples) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.took)
}

// quantile is the smallest sample that so many of all do not exceed (0.99: the 99th percentile); 0 without samples.
func (s *samples) quantile(q float64) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.took) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s.took))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// listEvery is the pause between two listings.
const listEvery = 100 * time.Millisecond

// failures is how many calls failed.
func (s *samples) failures() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// repeat asks for path over and over until ctx ends, and notes how long each answer took to come in full, or that none
// came. got is given the answers.
func (s *samples) repeat(ctx context.Context, by *client, path string, got func(json.RawMessage)) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		began := time.Now()
		answer, err := by.get(ctx, path)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.fail()
		default:
			s.add(time.Since(began))
			got(answer)
		}
		timer.Reset(listEvery)
	}
}
