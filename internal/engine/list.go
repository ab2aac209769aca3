package engine

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"

	"shoal/internal/image"
)

// ListOptions says which containers a listing shows.
type ListOptions struct {
	All     bool // those that do not run, too
	Limit   int  // the newest so many, running or not; 0: all
	Size    bool
	Filters map[string][]string
}

// Summaries lists containers as `docker ps` shows them, newest first. ErrInvalidArgument: a filter is unknown or its
// value means nothing.
func (e *Engine) Summaries(ctx context.Context, o ListOptions) ([]container.Summary, error) {
	f, err := e.newSelection(ctx, o.Filters)
	if err != nil {
		return nil, err
	}
	out := []container.Summary{}
	for _, c := range e.Containers() {
		r := c.Record()
		up := r.State.Running() || r.State.Status == container.StateRestarting
		if !up && !o.All && o.Limit <= 0 && !f.stopped {
			continue
		}
		networks := e.networkSettings(r)
		if !f.match(r, networks) {
			continue
		}
		s := e.summary(r, networks)
		if o.Size {
			if s.SizeRw, s.SizeRootFs, err = e.sizes(ctx, r); err != nil && !errdefs.IsNotFound(err) { // removed meanwhile
				return nil, err
			}
		}
		if out = append(out, s); o.Limit > 0 && len(out) == o.Limit {
			break
		}
	}
	return out, nil
}

func (e *Engine) summary(r Record, n *container.NetworkSettings) container.Summary {
	s := container.Summary{
		ID: r.ID, Names: []string{"/" + r.Name}, Image: shownImage(r), ImageID: r.ImageID, Command: commandLine(r), Created: r.Created.Unix(),
		Ports: portSummaries(n), Labels: r.Config.Labels, State: r.State.Status, Status: statusText(r.State, time.Now()),
		NetworkSettings: &container.NetworkSettingsSummary{Networks: n.Networks}, Mounts: r.Mounts,
	}
	if s.Labels == nil {
		s.Labels = map[string]string{}
	}
	if s.Mounts == nil {
		s.Mounts = []container.MountPoint{}
	}
	s.HostConfig.NetworkMode = string(e.hostConfig(r).NetworkMode)
	s.HostConfig.Annotations = r.HostConfig.Annotations
	s.Health = &container.HealthSummary{Status: container.NoHealthcheck}
	if h := r.State.Health; h != nil {
		s.Health = &container.HealthSummary{Status: h.Status, FailingStreak: h.FailingStreak}
	}
	return s
}

// shownImage is the image as it was asked for; a task's pinned name is shown whole, as Docker does.
func shownImage(r Record) string {
	if r.Config.Image == "" {
		return r.ImageID
	}
	return r.Config.Image
}

func commandLine(r Record) string {
	words := []string{r.Path}
	for _, a := range r.Args {
		if strings.Contains(a, " ") {
			a = "'" + a + "'"
		}
		words = append(words, a)
	}
	return strings.TrimSpace(strings.Join(words, " "))
}

// statusText is the STATUS column: "Up 5 minutes (healthy)".
func statusText(s State, now time.Time) string {
	ago := func(t time.Time) string { return units.HumanDuration(now.Sub(t)) }
	switch s.Status {
	case container.StatePaused:
		return "Up " + ago(s.StartedAt) + " (Paused)"
	case container.StateRestarting:
		return fmt.Sprintf("Restarting (%d) %s ago", s.ExitCode, ago(s.FinishedAt))
	case container.StateRunning:
		text := "Up " + ago(s.StartedAt)
		if s.Health == nil || s.Health.Status == container.NoHealthcheck || s.Health.Status == "" {
			return text
		}
		if s.Health.Status == container.Starting {
			return text + " (health: starting)"
		}
		return text + " (" + string(s.Health.Status) + ")"
	case container.StateRemoving:
		return "Removal In Progress"
	case container.StateDead:
		return "Dead"
	}
	if s.StartedAt.IsZero() && s.FinishedAt.IsZero() {
		return "Created"
	}
	return fmt.Sprintf("Exited (%d) %s ago", s.ExitCode, ago(s.FinishedAt))
}

func portSummaries(n *container.NetworkSettings) []container.PortSummary {
	out := []container.PortSummary{}
	for p, bindings := range n.Ports {
		s := container.PortSummary{PrivatePort: p.Num(), Type: string(p.Proto())}
		if len(bindings) == 0 {
			out = append(out, s)
		}
		for _, b := range bindings {
			public, err := strconv.ParseUint(b.HostPort, 10, 16)
			if err != nil {
				continue
			}
			s.IP, s.PublicPort = b.HostIP, uint16(public)
			if !s.IP.IsValid() {
				s.IP = netip.IPv4Unspecified()
			}
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b container.PortSummary) int {
		return cmpOr(cmpOr(int(a.PrivatePort)-int(b.PrivatePort), strings.Compare(a.Type, b.Type)), a.IP.Compare(b.IP))
	})
	return out
}

// ImageUsers says which containers use an image, for image.Config.Users.
func (e *Engine) ImageUsers(id string) []image.User {
	var out []image.User
	for _, c := range e.Containers() {
		if r := c.Record(); r.ImageID == id {
			out = append(out, image.User{ContainerID: r.ID, Running: r.State.Running()})
		}
	}
	return out
}

// VolumeUsers says which containers name a volume, running or not, for volume.Store.SetInUse.
func (e *Engine) VolumeUsers(name string) []string {
	var out []string
	for _, c := range e.Containers() {
		r := c.Record()
		if slices.ContainsFunc(r.Mounts, func(m container.MountPoint) bool { return m.Name == name && name != "" }) {
			out = append(out, r.ID)
		}
	}
	return out
}
