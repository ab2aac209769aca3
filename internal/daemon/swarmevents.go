package daemon

import (
	"context"
	"time"

	"github.com/moby/moby/api/types/events"

	"shoal/internal/controlplane"
	"shoal/internal/store"
)

// tellEvents passes on what happens to the swarm's objects from now on, so that `docker events --since` finds the past
// among the node's own. Where it falls behind the store's history, what was between is not told.
func tellEvents(ctx context.Context, s *store.Store, emit func(events.Message)) {
	from := s.Index()
	for ctx.Err() == nil {
		for ev, err := range s.Watch(ctx, from) {
			if err != nil {
				break
			}
			from = ev.Index
			for _, msg := range controlplane.Events(ev, time.Now()) {
				emit(msg)
			}
		}
		from = max(from, s.Index())
	}
}
