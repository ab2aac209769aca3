package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"shoal/internal/cluster"
)

// Docker's defaults for what a health check leaves open.
const (
	probeInterval      = 30 * time.Second
	probeTimeout       = 30 * time.Second
	probeStartInterval = 5 * time.Second
	probeRetries       = 3
	probesKept         = 5
	probeOutput        = 4096 // bytes of a probe's output that are kept
)

// checks says whether a container has a health check.
func checks(h *container.HealthConfig) bool {
	return h != nil && len(h.Test) > 0 && h.Test[0] != "NONE"
}

// checkHealth refuses what a health check may not be, in Docker's words.
func checkHealth(h *container.HealthConfig) error {
	if h == nil {
		return nil
	}
	for _, d := range []struct {
		name string
		v    time.Duration
	}{{"Interval", h.Interval}, {"Timeout", h.Timeout}, {"StartPeriod", h.StartPeriod}, {"StartInterval", h.StartInterval}} {
		if d.v != 0 && d.v < container.MinimumDuration {
			return cluster.Errorf(errdefs.ErrInvalidArgument, "%s in Healthcheck cannot be less than %s", d.name, container.MinimumDuration)
		}
	}
	if h.Retries < 0 {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "Retries in Healthcheck cannot be negative")
	}
	if len(h.Test) > 0 && !slices.Contains([]string{"NONE", "CMD", "CMD-SHELL"}, h.Test[0]) {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "Unknown healthcheck type '%s' (expected 'CMD')", h.Test[0])
	}
	return nil
}

func or(d, none time.Duration) time.Duration {
	if d == 0 {
		return none
	}
	return d
}

// nextProbe is the pause before the next probe. Pure.
func nextProbe(cfg container.HealthConfig, h container.Health, age time.Duration) time.Duration {
	if h.Status == container.Starting && cfg.StartPeriod > 0 && age < cfg.StartPeriod {
		return or(cfg.StartInterval, probeStartInterval)
	}
	return or(cfg.Interval, probeInterval)
}

// judge returns the health after one more probe, which ended at age. A failure within the start period does not count,
// until a first success has ended that. Pure.
func judge(cfg container.HealthConfig, h container.Health, result container.HealthcheckResult, age time.Duration) container.Health {
	log := append(slices.Clone(h.Log), &result)
	h.Log = log[max(0, len(log)-probesKept):]
	if result.ExitCode == 0 {
		h.FailingStreak, h.Status = 0, container.Healthy
		return h
	}
	if h.Status == container.Starting && age < cfg.StartPeriod {
		return h
	}
	h.FailingStreak++
	retries := cfg.Retries
	if retries == 0 {
		retries = probeRetries
	}
	if h.FailingStreak >= retries {
		h.Status = container.Unhealthy
	}
	return h
}

// checkLoop probes a run until it ends.
func (c *Container) checkLoop(r *run) {
	cfg := *c.rec.Config.Healthcheck // set once
	started := c.Record().State.StartedAt
	for {
		rec := c.Record()
		if rec.State.Health == nil {
			return
		}
		t := time.NewTimer(nextProbe(cfg, *rec.State.Health, time.Since(started)))
		select {
		case <-t.C:
		case <-r.done:
			t.Stop()
			return
		case <-c.engine.ctx.Done():
			t.Stop()
			return
		}
		if c.Record().State.Status == container.StatePaused {
			continue
		}
		result := c.probe(r, cfg)
		select {
		case <-r.done:
			return
		case <-c.engine.ctx.Done():
			return
		default:
		}
		var was, is container.HealthStatus
		c.note(func(rec *Record) {
			if rec.State.Health == nil {
				return
			}
			was = rec.State.Health.Status
			h := judge(cfg, *rec.State.Health, result, time.Since(started))
			is = h.Status
			rec.State.Health = &h
		})
		if was != is {
			c.event(events.Action("health_status: "+string(is)), nil)
		}
	}
}

// probe runs the check once.
func (c *Container) probe(r *run, cfg container.HealthConfig) container.HealthcheckResult {
	began := time.Now().UTC()
	limit := or(cfg.Timeout, probeTimeout)
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(c.engine.ctx, Namespace), limit)
	defer cancel()
	out := &tail{}
	code, err := c.runProbe(ctx, r, probeArgs(cfg, c.rec.Config.Shell), out)
	switch {
	case errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil:
		code = -1
		fmt.Fprintf(out, "Health check exceeded timeout (%s)", limit)
	case err != nil:
		code = -1
		fmt.Fprint(out, err)
	}
	return container.HealthcheckResult{Start: began, End: time.Now().UTC(), ExitCode: code, Output: out.String()}
}

func probeArgs(cfg container.HealthConfig, shell []string) []string {
	if cfg.Test[0] == "CMD" {
		return cfg.Test[1:]
	}
	if len(shell) == 0 {
		shell = []string{"/bin/sh", "-c"}
	}
	return append(slices.Clone(shell), cfg.Test[1:]...)
}

// runProbe executes args in the container; what outlives ctx is killed.
func (c *Container) runProbe(ctx context.Context, r *run, args []string, out *tail) (int, error) {
	p := *r.process
	p.Args, p.Terminal, p.ConsoleSize = args, false, nil
	c.mu.Lock()
	t := r.task
	c.mu.Unlock()
	fifos := cio.WithFIFODir(filepath.Join(c.engine.cfg.ExecRoot, "fifo"))
	proc, err := t.Exec(ctx, "health-"+newID()[:16], &p, cio.NewCreator(cio.WithStreams(nil, out, out), fifos))
	if err != nil {
		return 0, err
	}
	after := context.WithoutCancel(ctx)
	defer func() {
		dctx, cancel := context.WithTimeout(after, 5*time.Second)
		defer cancel()
		_, _ = proc.Delete(dctx, client.WithProcessKill)
	}()
	exit, err := proc.Wait(ctx)
	if err != nil {
		return 0, err
	}
	if err := proc.Start(ctx); err != nil {
		return 0, err
	}
	select {
	case s := <-exit:
		code, _, err := s.Result()
		if err != nil {
			return 0, err
		}
		proc.IO().Wait()
		return int(code), nil
	case <-ctx.Done():
		kctx, cancel := context.WithTimeout(after, 5*time.Second)
		defer cancel()
		_ = proc.Kill(kctx, syscall.SIGKILL) // Delete kills once more
		return 0, ctx.Err()
	}
}

// tail keeps the first bytes of a probe's output. Its two streams are written by two goroutines.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf.Write(p[:min(len(p), max(0, probeOutput-t.buf.Len()))])
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}
