package image

import (
	"context"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/image"

	"shoal/internal/cluster"
)

// Filters are a request's filters: values by key.
type Filters map[string][]string

// check is an error in Docker's words if a key is not one of these.
func (f Filters) check(keys ...string) error {
	for k := range f {
		if !slices.Contains(keys, k) {
			return cluster.Errorf(errdefs.ErrInvalidArgument, "invalid filter '%s'", k)
		}
	}
	return nil
}

// flag reads a filter that is true or false; def without one.
func (f Filters) flag(key string, def bool) (bool, error) {
	if len(f[key]) == 0 {
		return def, nil
	}
	switch v := f[key][0]; v {
	case "1", "true":
		return true, nil
	case "0", "false":
		return false, nil
	default:
		return false, cluster.Errorf(errdefs.ErrInvalidArgument, "invalid filter '%s=[%s]'", key, v)
	}
}

// List returns the images, newest first. Filters: reference, dangling, label, label!, before, since, until.
func (s *Store) List(ctx context.Context, f Filters) ([]image.Summary, error) {
	if err := f.check("reference", "dangling", "label", "label!", "before", "since", "until"); err != nil {
		return nil, err
	}
	ctx, cl := s.client(ctx)
	all, err := s.entries(ctx, cl)
	if err != nil {
		return nil, err
	}
	chosen, err := s.choose(ctx, cl, all, f)
	if err != nil {
		return nil, err
	}
	out := make([]image.Summary, 0, len(chosen))
	for _, e := range chosen {
		sum, err := s.summary(ctx, cl, e, f["reference"])
		if err != nil {
			return nil, err
		}
		if sum != nil {
			out = append(out, *sum)
		}
	}
	return out, nil
}

// choose applies every filter but reference, which also says what is shown of an image.
func (s *Store) choose(ctx context.Context, cl *client.Client, all map[string]*entry, f Filters) ([]*entry, error) {
	var after, until time.Time
	for key, t := range map[string]*time.Time{"before": &until, "since": &after} {
		for _, ref := range f[key] {
			m, err := s.find(ctx, cl, ref)
			if err != nil {
				return nil, err
			}
			*t = m.created()
		}
	}
	if v := f["until"]; len(v) > 0 {
		t, err := parseTime(v[0], time.Now())
		if err != nil {
			return nil, err
		}
		if until.IsZero() || t.Before(until) {
			until = t
		}
	}
	want, err := f.flag("dangling", false)
	if err != nil {
		return nil, err
	}
	var out []*entry
	for _, e := range all {
		tags, _ := e.tags()
		switch {
		case len(f["dangling"]) > 0 && want != (len(tags) == 0):
		case !after.IsZero() && !e.created().After(after):
		case !until.IsZero() && !e.created().Before(until):
		case !labelled(e.config.Config.Labels, f):
		default:
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b *entry) int {
		if c := b.created().Compare(a.created()); c != 0 {
			return c
		}
		return strings.Compare(a.id, b.id)
	})
	return out, nil
}

func (e *entry) created() time.Time {
	if e.config.Created == nil {
		return time.Unix(0, 0).UTC()
	}
	return *e.config.Created
}

// summary is what a listing shows of an image; nil: the reference filter leaves nothing of it.
func (s *Store) summary(ctx context.Context, cl *client.Client, e *entry, refs []string) (*image.Summary, error) {
	tags, digests := e.tags()
	if len(refs) > 0 {
		miss := func(name string) bool { return !matches(refs, name) }
		tags, digests = slices.DeleteFunc(tags, miss), slices.DeleteFunc(digests, miss)
		if len(tags)+len(digests) == 0 {
			return nil, nil
		}
	}
	size, err := s.size(ctx, cl, e.detail)
	if err != nil {
		return nil, err
	}
	sum := &image.Summary{
		ID: e.id, Created: e.created().Unix(), RepoTags: tags, RepoDigests: digests, Size: size, SharedSize: -1,
		Labels: e.config.Config.Labels, Containers: int64(len(s.cfg.Users(e.id))),
	}
	if sum.RepoTags == nil {
		sum.RepoTags = []string{}
	}
	if sum.RepoDigests == nil {
		sum.RepoDigests = []string{}
	}
	return sum, nil
}

// matches says whether one of the patterns means a familiar name "repo:tag" or "repo@digest", as in Docker: the
// pattern is matched against the whole and against the repository alone.
func matches(patterns []string, name string) bool {
	n, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return false
	}
	for _, p := range patterns {
		if ok, err := reference.FamiliarMatch(p, n); err == nil && ok {
			return true
		}
		if ok, err := path.Match(p, reference.FamiliarName(n)); err == nil && ok {
			return true
		}
	}
	return false
}

// labelled says whether labels satisfy the filters "label" and "label!": key or key=value each.
func labelled(labels map[string]string, f Filters) bool {
	has := func(want string) bool {
		k, v, exact := strings.Cut(want, "=")
		got, ok := labels[k]
		return ok && (!exact || got == v)
	}
	for _, want := range f["label"] {
		if !has(want) {
			return false
		}
	}
	return !slices.ContainsFunc(f["label!"], has)
}

// size is the bytes that an image's unpacked layers take, shared ones included.
func (s *Store) size(ctx context.Context, cl *client.Client, d *detail) (int64, error) {
	sizes, err := s.layerSizes(ctx, cl, d)
	var sum int64
	for _, n := range sizes {
		sum += n
	}
	return sum, err
}

// parseTime reads a point in time as Docker's filters have it: a duration before now, seconds since 1970, or RFC 3339.
func parseTime(v string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(v); err == nil {
		return now.Add(-d), nil
	}
	if sec, err := strconv.ParseFloat(v, 64); err == nil {
		return time.UnixMicro(int64(sec * 1e6)), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, v, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, cluster.Errorf(errdefs.ErrInvalidArgument, "invalid value for until: %q", v)
}
