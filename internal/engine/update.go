package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"shoal/internal/cluster"
)

// Update changes a container's limits and restart policy, also while it runs. Zero values leave what there is.
// ErrInvalidArgument: the limits cannot be; nothing has changed then.
func (e *Engine) Update(ctx context.Context, ref string, u container.UpdateConfig) error {
	c, release, err := e.owned(ctx, ref)
	if err != nil {
		return err
	}
	defer release()
	rec := c.Record()
	h := *rec.HostConfig
	if err := changeLimits(&h.Resources, u.Resources); err != nil {
		return err
	}
	if u.RestartPolicy.Name != "" {
		if h.AutoRemove && u.RestartPolicy.Name != container.RestartPolicyDisabled {
			return cluster.Errorf(errdefs.ErrInvalidArgument, "Restart policy cannot be updated because AutoRemove is enabled for the container")
		}
		h.RestartPolicy = u.RestartPolicy
	}
	if err := check(rec.Config, &h); err != nil {
		return err
	}
	s := &specs.Spec{Process: &specs.Process{}, Linux: &specs.Linux{}}
	if err := resources(s, Wish{Config: rec.Config, HostConfig: &h, Node: e.node}); err != nil {
		return err
	}
	if rec.State.Running() {
		t, err := c.Task(ctx)
		if err != nil {
			return err
		}
		if err := t.Update(namespaces.WithNamespace(ctx, Namespace), client.WithResources(s.Linux.Resources)); err != nil {
			return fmt.Errorf("Cannot update container %s: %w", rec.ID, err) //nolint:staticcheck // Docker's sentence
		}
	}
	if err := c.update(func(r *Record) { r.HostConfig = &h }); err != nil {
		return err
	}
	c.event(events.ActionUpdate, nil)
	return nil
}

// changeLimits sets in r what u names.
func changeLimits(r *container.Resources, u container.Resources) error {
	set(&r.CPUShares, u.CPUShares)
	set(&r.CPUPeriod, u.CPUPeriod)
	set(&r.CPUQuota, u.CPUQuota)
	set(&r.CPURealtimePeriod, u.CPURealtimePeriod)
	set(&r.CPURealtimeRuntime, u.CPURealtimeRuntime)
	set(&r.CpusetCpus, u.CpusetCpus)
	set(&r.CpusetMems, u.CpusetMems)
	set(&r.BlkioWeight, u.BlkioWeight)
	set(&r.MemoryReservation, u.MemoryReservation)
	if u.NanoCPUs > 0 {
		if r.CPUPeriod > 0 || r.CPUQuota > 0 {
			return cluster.Errorf(errdefs.ErrInvalidArgument, "Conflicting options: Nano CPUs cannot be updated as CPU Period/Quota has already been set")
		}
		r.NanoCPUs = u.NanoCPUs
	}
	if u.Memory != 0 && u.MemorySwap == 0 && r.MemorySwap > 0 && u.Memory > r.MemorySwap {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time")
	}
	set(&r.Memory, u.Memory)
	set(&r.MemorySwap, u.MemorySwap)
	if u.PidsLimit != nil {
		r.PidsLimit = u.PidsLimit
	}
	return nil
}

func set[T comparable](to *T, v T) {
	var none T
	if v != none {
		*to = v
	}
}

// Prune removes the containers that do not run and have no task. Filters: until (made before), label, label!. One that
// cannot be removed is left, and does not stop the others.
func (e *Engine) Prune(ctx context.Context, until time.Time, labels, notLabels []string) container.PruneReport {
	report := container.PruneReport{ContainersDeleted: []string{}}
	for _, c := range e.Containers() {
		r := c.Record()
		has := func(want string) bool { return hasLabel(r.Config.Labels, want) }
		switch {
		case r.State.Running() || r.State.Status == container.StateRestarting || r.TaskID != "",
			!until.IsZero() && !r.Created.Before(until),
			slices.ContainsFunc(labels, func(l string) bool { return !has(l) }),
			slices.ContainsFunc(notLabels, has):
			continue
		}
		size, _, err := e.sizes(ctx, r)
		if err == nil {
			err = e.Remove(ctx, r.ID, RemoveOptions{})
		}
		if err != nil {
			e.log.Info("container is left", "container", r.ID, "error", err)
			continue
		}
		report.ContainersDeleted = append(report.ContainersDeleted, r.ID)
		report.SpaceReclaimed += uint64(max(0, size))
	}
	return report
}
