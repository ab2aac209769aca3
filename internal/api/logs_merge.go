package api

import (
	"context"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// logBuffer is how many lines of one task wait to be written; a reader that is further ahead stands still.
const logBuffer = 64

// taskLine is a line and whose it is; or the error that ended the task's log.
type taskLine struct {
	task *cluster.Task
	line LogLine
	err  error
}

// read sends the task's lines until its log or ctx ends.
func (f *logSource) read(ctx context.Context, t *cluster.Task, to chan<- taskLine) {
	for line, err := range f.logs.TaskLog(ctx, t, f.opts) {
		if errdefs.IsNotFound(err) { // the container is gone, and its log with it
			return
		}
		select {
		case to <- taskLine{t, line, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// merged writes the lines of all tasks in the order of their times.
func (f *logSource) merged(ctx context.Context, out *logWriter) error {
	ctx, cancel := context.WithCancel(ctx)
	var readers sync.WaitGroup
	defer readers.Wait()
	defer cancel()
	tasks := f.tasks(f.store.View())
	sources := make([]chan taskLine, len(tasks))
	heads := make([]*taskLine, len(tasks))
	var failed []string
	next := func(i int) {
		heads[i] = nil
		line, ok := <-sources[i]
		switch {
		case !ok:
		case line.err != nil:
			failed = append(failed, reason(line))
		default:
			heads[i] = &line
		}
	}
	for i, t := range tasks {
		sources[i] = make(chan taskLine, logBuffer)
		readers.Go(func() {
			defer close(sources[i])
			f.read(ctx, t, sources[i])
		})
	}
	for i := range sources {
		next(i)
	}
	for {
		first := -1
		for i, head := range heads {
			if head != nil && (first < 0 || head.line.Time.Before(heads[first].line.Time)) {
				first = i
			}
		}
		if first < 0 {
			return out.failed(failed)
		}
		if err := out.line(heads[first].task, heads[first].line); err != nil {
			return err
		}
		next(first)
	}
}

func reason(l taskLine) string {
	if errdefs.IsUnavailable(l.err) {
		return "node " + l.task.NodeID + " is not available"
	}
	return "task " + l.task.ID + ": " + l.err.Error()
}

// followed writes lines as they come, also of tasks that are made meanwhile, until ctx ends or nothing more can come.
func (f *logSource) followed(ctx context.Context, out *logWriter) error {
	ctx, cancel := context.WithCancel(ctx)
	var readers sync.WaitGroup
	defer readers.Wait()
	defer cancel()
	lines := make(chan taskLine, logBuffer)
	fresh := make(chan *cluster.Task)
	ended := make(chan struct{}, 1)
	active, started := 0, make(map[string]bool)
	start := func(t *cluster.Task) {
		if started[t.ID] {
			return
		}
		started[t.ID] = true
		active++
		readers.Go(func() {
			f.read(ctx, t, lines)
			select {
			case lines <- taskLine{}:
			case <-ctx.Done():
			}
		})
	}
	v := f.store.View()
	for _, t := range f.tasks(v) {
		start(t)
	}
	readers.Go(func() { f.watch(ctx, v.Index(), fresh, ended) })
	return f.pump(ctx, out, lines, fresh, ended, start, &active)
}

// pump writes what the readers send. It flushes when no line waits, and every flushEvery when they never stop coming.
func (f *logSource) pump(ctx context.Context, out *logWriter, lines <-chan taskLine, fresh <-chan *cluster.Task,
	ended <-chan struct{}, start func(*cluster.Task), active *int,
) error {
	over := f.gone()
	flushed := time.Now()
	for *active > 0 || !over {
		select {
		case <-ctx.Done():
			return nil
		case <-ended:
			over = true
		case t := <-fresh:
			start(t)
		case l := <-lines:
			switch {
			case l.task == nil:
				*active--
			case l.err != nil:
				if err := out.failed([]string{reason(l)}); err != nil {
					return err
				}
			default:
				if err := out.line(l.task, l.line); err != nil {
					return err
				}
			}
			if len(lines) == 0 || time.Since(flushed) > flushEvery {
				if err := out.flush(); err != nil {
					return err
				}
				flushed = time.Now()
			}
		}
	}
	return nil
}

// watch sends tasks as they begin to write, and says on ended when no more can come.
func (f *logSource) watch(ctx context.Context, after uint64, fresh chan<- *cluster.Task, ended chan<- struct{}) {
	for e, err := range f.store.Watch(ctx, after) {
		if err != nil { // behind, or ctx has ended: what is followed already goes on
			break
		}
		concerned := false
		for _, change := range e.Changes {
			concerned = concerned || change.Table != store.Nodes.Name()
			if t := f.wants(change); t != nil {
				select {
				case fresh <- t:
				case <-ctx.Done():
					return
				}
			}
		}
		if concerned && f.gone() {
			break
		}
	}
	select {
	case ended <- struct{}{}:
	case <-ctx.Done():
	}
}
