package daemon

import (
	"context"
	"iter"
	"time"

	"github.com/moby/moby/api/types/events"

	"shoal/internal/controlplane"
)

// swarmEvents yields what happens to the swarm's objects from the call on, on a manager; nothing elsewhere. A reader that
// falls behind the store's history misses what was between, as Docker's do.
func (n *node) swarmEvents(ctx context.Context) iter.Seq[events.Message] {
	n.mu.RLock()
	m := n.managing
	n.mu.RUnlock()
	if m == nil {
		return func(func(events.Message) bool) {}
	}
	from := m.store.Index()
	return func(yield func(events.Message) bool) {
		for ctx.Err() == nil {
			for ev, err := range m.store.Watch(ctx, from) {
				if err != nil {
					break
				}
				from = ev.Index
				for _, msg := range controlplane.Events(ev, time.Now()) {
					if !yield(msg) {
						return
					}
				}
			}
			from = max(from, m.store.Index()) // behind: go on from here
		}
	}
}
