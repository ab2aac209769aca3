package engine

import (
	"context"
	"iter"
	"maps"
	"sync"
	"time"

	"github.com/moby/moby/api/types/events"
)

// kept is how many past events a late subscriber can still ask for, as Docker keeps.
const kept = 256

// backlog is how far a subscriber may fall behind before it is dropped.
const backlog = 1024

// Bus carries what `docker events` shows of this node. Who does not keep up is cut off rather than waited for.
type Bus struct {
	mu   sync.Mutex
	past []events.Message // oldest first, at most kept
	subs map[chan events.Message]struct{}
}

// NewBus returns a bus without subscribers.
func NewBus() *Bus { return &Bus{subs: map[chan events.Message]struct{}{}} }

// Publish tells every subscriber that action happened to an object. The attributes are copied.
func (b *Bus) Publish(typ events.Type, action events.Action, id string, attributes map[string]string) {
	now := time.Now().UTC()
	b.Send(events.Message{
		Type: typ, Action: action, Scope: "local", Time: now.Unix(), TimeNano: now.UnixNano(),
		Actor: events.Actor{ID: id, Attributes: maps.Clone(attributes)},
	})
}

// Send passes on an event as it is.
func (b *Bus) Send(m events.Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.past) == kept {
		b.past = append(b.past[:0], b.past[1:]...)
	}
	b.past = append(b.past, m)
	for s := range b.subs {
		select {
		case s <- m:
		default:
			delete(b.subs, s)
			close(s)
		}
	}
}

// Subscribe yields the kept events since a time (zero: none of the past) and then each new one, until ctx ends, the
// reader stops, or it falls too far behind. It is subscribed from the call on, not from the first step of the loop.
func (b *Bus) Subscribe(ctx context.Context, since time.Time) iter.Seq[events.Message] {
	s := make(chan events.Message, backlog)
	b.mu.Lock()
	var past []events.Message
	if !since.IsZero() {
		for _, m := range b.past {
			if m.TimeNano >= since.UnixNano() {
				past = append(past, m)
			}
		}
	}
	b.subs[s] = struct{}{}
	b.mu.Unlock()
	context.AfterFunc(ctx, func() { b.drop(s) })
	return func(yield func(events.Message) bool) {
		defer b.drop(s)
		for _, m := range past {
			if !yield(m) {
				return
			}
		}
		for m := range s {
			if !yield(m) {
				return
			}
		}
	}
}

func (b *Bus) drop(s chan events.Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.subs[s]; ok {
		delete(b.subs, s)
		close(s)
	}
}
