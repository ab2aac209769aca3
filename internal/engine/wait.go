package engine

import (
	"context"

	"github.com/moby/moby/api/types/container"
)

// Wait tells how a container ended. It registers at once and answers on the channel, which is then closed: when the
// container does not run (WaitConditionNotRunning), at its next end (WaitConditionNextExit), or when it has been
// removed (WaitConditionRemoved). The channel is closed without an answer when ctx ends.
func (e *Engine) Wait(ctx context.Context, ref string, until container.WaitCondition) (<-chan container.WaitResponse, error) {
	c, err := e.Find(ref)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	began, seen, failed := c.rec.State.StartedAt, c.rec.State.FinishedAt, c.rec.State.Error
	c.mu.Unlock()
	out := make(chan container.WaitResponse, 1)
	go func() {
		defer close(out)
		for {
			c.mu.Lock()
			s, changed, removed := c.rec.State, c.changed, c.removed
			c.mu.Unlock()
			var over bool
			switch until {
			case container.WaitConditionRemoved:
				over = removed
			case container.WaitConditionNextExit:
				over = removed || !s.Running() && (s.FinishedAt.After(seen) || s.StartedAt.After(began) || s.Error != failed && s.Status != container.StateRestarting)
			default:
				over = removed || !s.Running() && s.Status != container.StateRestarting
			}
			if over {
				r := container.WaitResponse{StatusCode: int64(s.ExitCode)}
				if s.Error != "" {
					r.Error = &container.WaitExitError{Message: s.Error}
				}
				out <- r
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

// Changed returns the record as it is and a channel that is closed when it changes.
func (c *Container) Changed() (Record, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rec, c.changed
}

// meeting is somebody who wants to be there before the container's process runs.
type meeting struct{ f func(socket string) }

// BeforeStart has f called once, with the attach socket, when the container's next run has been made and before its
// process runs, so that no output is missed. The start waits for f to return. cancel takes the wish back; it may have
// been met already.
func (c *Container) BeforeStart(f func(socket string)) (cancel func()) {
	m := &meeting{f}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.meeting = append(c.meeting, m)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for i, other := range c.meeting {
			if other == m {
				c.meeting = append(c.meeting[:i:i], c.meeting[i+1:]...)
				return
			}
		}
	}
}

func (c *Container) meet() {
	c.mu.Lock()
	all := c.meeting
	c.meeting = nil
	c.mu.Unlock()
	for _, m := range all {
		m.f(c.AttachSocket())
	}
}
