package engine

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"shoal/internal/cluster"
)

// selection is a listing's filters, read once. Values of one key are alternatives, but for labels, which must all be
// there; keys must all match.
type selection struct {
	by            map[string][]string
	names, ids    []*regexp.Regexp
	exited        map[int]bool
	images        map[string]bool // IDs and names of ancestors
	after, before time.Time
	task          *bool
	stopped       bool // a filter asks for containers that do not run
}

var filterKeys = []string{
	"id", "name", "label", "status", "ancestor", "exited", "health", "network", "volume", "before",
	"since", "is-task", "publish", "expose",
}

func (e *Engine) newSelection(ctx context.Context, filters map[string][]string) (*selection, error) {
	s := &selection{by: filters}
	for key := range filters {
		if !slices.Contains(filterKeys, key) {
			return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "invalid filter '%s'", key)
		}
	}
	for key, list := range map[string]*[]*regexp.Regexp{"name": &s.names, "id": &s.ids} {
		for _, v := range filters[key] {
			re, err := regexp.Compile(v)
			if err != nil {
				re = regexp.MustCompile(regexp.QuoteMeta(v))
			}
			*list = append(*list, re)
		}
	}
	for _, v := range filters["status"] {
		if err := container.ValidateContainerState(container.ContainerState(v)); err != nil {
			return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "invalid filter 'status=%s'", v)
		}
		s.stopped = true
	}
	for _, v := range filters["health"] {
		if err := container.ValidateHealthStatus(container.HealthStatus(v)); err != nil {
			return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "invalid filter 'health=%s'", v)
		}
	}
	if err := s.readExited(filters["exited"]); err != nil {
		return nil, err
	}
	for _, v := range filters["is-task"] {
		is, err := strconv.ParseBool(v)
		if err != nil {
			return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "invalid filter 'is-task=[%s]'", v)
		}
		s.task = &is
	}
	for key, t := range map[string]*time.Time{"before": &s.before, "since": &s.after} {
		for _, ref := range filters[key] {
			c, err := e.Find(ref)
			if err != nil {
				return nil, err
			}
			*t = c.Record().Created
		}
	}
	return s, s.readImages(ctx, e.cfg.Images, filters["ancestor"])
}

func (s *selection) readExited(values []string) error {
	for _, v := range values {
		code, err := strconv.Atoi(v)
		if err != nil {
			return cluster.Errorf(errdefs.ErrInvalidArgument, "invalid filter 'exited=%s'", v)
		}
		if s.exited == nil {
			s.exited = map[int]bool{}
		}
		s.exited[code], s.stopped = true, true
	}
	return nil
}

func (s *selection) readImages(ctx context.Context, images Images, refs []string) error {
	if len(refs) > 0 {
		s.images = map[string]bool{}
	}
	for _, ref := range refs {
		s.images[ref] = true
		img, err := images.Get(ctx, ref)
		switch {
		case err == nil:
			s.images[img.ID] = true
		case !errdefs.IsNotFound(err) && !errdefs.IsInvalidArgument(err): // then it is nobody's ancestor
			return err
		}
	}
	return nil
}

func (s *selection) match(r Record, n *container.NetworkSettings) bool {
	switch {
	case s.task != nil && *s.task != (r.TaskID != ""),
		!s.after.IsZero() && !r.Created.After(s.after),
		!s.before.IsZero() && !r.Created.Before(s.before),
		s.exited != nil && (r.State.Status != container.StateExited || !s.exited[r.State.ExitCode]),
		s.images != nil && !s.images[r.ImageID] && !s.images[r.Config.Image],
		len(s.ids) > 0 && !anyMatch(s.ids, r.ID),
		len(s.names) > 0 && !anyMatch(s.names, r.Name) && !anyMatch(s.names, "/"+r.Name):
		return false
	}
	return s.any("status", func(v string) bool { return v == string(r.State.Status) }) &&
		s.any("health", func(v string) bool { return v == string(healthOf(r.State)) }) &&
		s.all("label", func(v string) bool { return hasLabel(r.Config.Labels, v) }) &&
		s.any("volume", func(v string) bool { return mountsVolume(r.Mounts, v) }) &&
		s.any("network", func(v string) bool { return inNetwork(n, v) }) &&
		s.any("publish", func(v string) bool { return hasPort(n, v, true) }) &&
		s.any("expose", func(v string) bool { return hasPort(n, v, false) })
}

func (s *selection) any(key string, f func(string) bool) bool {
	return len(s.by[key]) == 0 || slices.ContainsFunc(s.by[key], f)
}

func (s *selection) all(key string, f func(string) bool) bool {
	return !slices.ContainsFunc(s.by[key], func(v string) bool { return !f(v) })
}

func anyMatch(list []*regexp.Regexp, v string) bool {
	return slices.ContainsFunc(list, func(re *regexp.Regexp) bool { return re.MatchString(v) })
}

func healthOf(s State) container.HealthStatus {
	if s.Health == nil || s.Health.Status == "" {
		return container.NoHealthcheck
	}
	return s.Health.Status
}

// hasLabel says whether labels hold want: a key, or key=value.
func hasLabel(labels map[string]string, want string) bool {
	k, v, exact := strings.Cut(want, "=")
	got, ok := labels[k]
	return ok && (!exact || got == v)
}

func mountsVolume(mounts []container.MountPoint, want string) bool {
	return slices.ContainsFunc(mounts, func(m container.MountPoint) bool {
		return m.Name == want && want != "" || m.Destination == want || m.Source == want
	})
}

func inNetwork(n *container.NetworkSettings, want string) bool {
	for name, ep := range n.Networks {
		if name == want || (ep != nil && want != "" && strings.HasPrefix(ep.NetworkID, want)) {
			return true
		}
	}
	return false
}

// hasPort says whether a port is published (or, of those in the container, exposed): want is "80", "80/udp" or
// "8000-8080/tcp". What is no port matches nothing.
func hasPort(n *container.NetworkSettings, want string, public bool) bool {
	numbers, proto, _ := strings.Cut(want, "/")
	if proto == "" {
		proto = "tcp"
	}
	first, last, ranged := strings.Cut(numbers, "-")
	if !ranged {
		last = first
	}
	low, err1 := strconv.Atoi(first)
	high, err2 := strconv.Atoi(last)
	if err1 != nil || err2 != nil {
		return false
	}
	for p, bindings := range n.Ports {
		if string(p.Proto()) != proto {
			continue
		}
		if !public && int(p.Num()) >= low && int(p.Num()) <= high {
			return true
		}
		for _, b := range bindings {
			if host, err := strconv.Atoi(b.HostPort); public && err == nil && host >= low && host <= high {
				return true
			}
		}
	}
	return false
}
