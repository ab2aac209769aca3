package engine

import (
	"context"
	"time"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
)

const (
	// patience is how long a task's step puts up with a containerd that does not come back.
	patience = time.Minute
	// mostLives bounds how often a step is tried anew: it may be the step that kills containerd.
	mostLives = 5
)

// outlive does a step of a task, and does it anew when it failed because containerd died under it: that is not the task's
// fault, and must not count as one of its failures. The step is told when it is not the first try: something of the last one
// may be left then.
func (e *Engine) outlive(ctx context.Context, step func(again bool) error) error {
	over := time.Now().Add(patience)
	for life := 1; ; life++ {
		pid := e.pid()
		err := step(life > 1)
		if err == nil || ctx.Err() != nil || life == mostLives {
			return err
		}
		// It died if it is gone, or is another one by now. With an error of another class it need not be asked.
		if e.pid() == pid && (!errdefs.IsUnavailable(err) || e.answers(ctx)) {
			return err
		}
		e.log.Info("containerd died under a task's step, which is done anew", "error", err)
		for !e.answers(ctx) {
			if time.Now().After(over) || ctx.Err() != nil || !e.pause(retryEvery) {
				return err
			}
		}
	}
}

// afresh does what step says, on a container of which containerd holds nothing.
func (c *Container) afresh(ctx context.Context, step func() error) func(again bool) error {
	return func(again bool) error {
		if again {
			if err := c.dismantle(ctx); err != nil {
				return err
			}
		}
		return step()
	}
}

// pid tells one life of a private containerd from the next.
func (e *Engine) pid() int {
	if s, ok := e.cfg.Containerd.(interface{ Pid() int }); ok {
		return s.Pid()
	}
	return 0
}

func (e *Engine) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(ctx, Namespace), time.Second)
	defer cancel()
	_, err := e.cfg.Containerd.Client().Version(ctx)
	return err == nil
}
