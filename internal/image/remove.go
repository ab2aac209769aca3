package image

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"

	"shoal/internal/cluster"
)

// Remove takes a name away from an image, and with the last name (or when asked for by ID) the image itself: its
// layers that no other image needs are gone from disk when it returns. force removes all names, and the names of an
// image that containers hold, whose content then stays without a name. ErrConflict in Docker's words: something holds it.
func (s *Store) Remove(ctx context.Context, ref string, force bool) ([]image.DeleteResponse, error) {
	ctx, cl := s.client(ctx)
	m, err := s.find(ctx, cl, ref)
	if err != nil {
		return nil, err
	}
	going := m.records
	if m.record != nil {
		going = m.with(*m.record)
	}
	last := len(going) == len(m.records)
	users := s.cfg.Users(m.id)
	if err := m.conflict(ref, users, last, force); err != nil {
		return nil, err
	}
	if last && len(users) > 0 {
		if err := s.keep(ctx, cl, m.best()); err != nil {
			return nil, err
		}
		going = m.named()
	}
	return s.remove(ctx, cl, m.entry, going, last && len(users) == 0)
}

// with lists the records that go when r goes: r itself, the image's pinned names of the same repository unless another
// of its tags is left there, and the nameless record that is no use beside them.
func (e *entry) with(r images.Image) []images.Image {
	_, repo := split(r.Name)
	going, rest := []images.Image{r}, []images.Image(nil)
	tagged := false
	for _, o := range e.records {
		tag, in := split(o.Name)
		if o.Name != r.Name && in == repo && tag != "" {
			tagged = true
		}
	}
	for _, o := range e.records {
		tag, in := split(o.Name)
		switch {
		case o.Name == r.Name:
		case !tagged && in == repo && tag == "":
			going = append(going, o)
		default:
			rest = append(rest, o)
		}
	}
	if !slices.ContainsFunc(rest, func(o images.Image) bool { return !dangling(o.Name) }) {
		going = append(going, rest...)
	}
	return going
}

// conflict says why an image cannot be removed; nil: it can.
func (m match) conflict(ref string, users []User, last, force bool) error {
	short := strings.TrimPrefix(m.id, "sha256:")[:12]
	running := slices.IndexFunc(users, func(u User) bool { return u.Running })
	switch {
	case m.record != nil && (!last || force || len(users) == 0):
		return nil
	case m.record != nil:
		return cluster.Errorf(errdefs.ErrConflict, "conflict: unable to remove repository reference %q (must force) - container %s is using its referenced image %s",
			ref, users[0].ContainerID[:min(12, len(users[0].ContainerID))], short)
	case running >= 0:
		return cluster.Errorf(errdefs.ErrConflict, "conflict: unable to delete %s (cannot be forced) - image is being used by running container %s",
			short, users[running].ContainerID[:min(12, len(users[running].ContainerID))])
	case force:
		return nil
	case len(users) > 0:
		return cluster.Errorf(errdefs.ErrConflict, "conflict: unable to delete %s (must be forced) - image is being used by stopped container %s",
			short, users[0].ContainerID[:min(12, len(users[0].ContainerID))])
	case len(m.repositories()) > 1:
		return cluster.Errorf(errdefs.ErrConflict, "conflict: unable to delete %s (must be forced) - image is referenced in multiple repositories", short)
	}
	return nil
}

func (e *entry) repositories() map[string]bool {
	repos := map[string]bool{}
	for _, r := range e.named() {
		_, repo := split(r.Name)
		repos[repo] = true
	}
	return repos
}

// remove deletes records; the last one waits until containerd has dropped what nothing refers to.
func (s *Store) remove(ctx context.Context, cl *client.Client, e *entry, going []images.Image, all bool) ([]image.DeleteResponse, error) {
	var out []image.DeleteResponse
	for i, r := range going {
		var opts []images.DeleteOpt
		if i == len(going)-1 {
			opts = append(opts, images.SynchronousDelete())
		}
		if err := cl.ImageService().Delete(ctx, r.Name, opts...); err != nil && !errdefs.IsNotFound(err) {
			return out, fmt.Errorf("remove %s: %w", familiar(r.Name), err)
		}
		if dangling(r.Name) {
			continue
		}
		tag, repo := split(r.Name)
		if tag != "" {
			out = append(out, image.DeleteResponse{Untagged: tag})
		}
		if r.Labels[pulledLabel] != "" || tag == "" {
			out = append(out, image.DeleteResponse{Untagged: repo + "@" + r.Target.Digest.String()})
		}
		s.cfg.Event(events.ActionUnTag, e.id, map[string]string{"name": familiar(r.Name)})
	}
	if all {
		out = append(out, image.DeleteResponse{Deleted: e.id})
		s.cfg.Event(events.ActionDelete, e.id, map[string]string{"name": e.id})
	}
	return out, nil
}

// Prune removes the images that no container uses: those without a name, or all with the filter dangling=false.
// Filters: dangling, until, label, label!.
func (s *Store) Prune(ctx context.Context, f Filters) (image.PruneReport, error) {
	var report image.PruneReport
	if err := f.check("dangling", "until", "label", "label!"); err != nil {
		return report, err
	}
	only, err := f.flag("dangling", true)
	if err != nil {
		return report, err
	}
	rest := Filters{"until": f["until"], "label": f["label"], "label!": f["label!"]}
	ctx, cl := s.client(ctx)
	all, err := s.entries(ctx, cl)
	if err != nil {
		return report, err
	}
	chosen, err := s.choose(ctx, cl, all, rest)
	if err != nil {
		return report, err
	}
	before, err := s.diskUse(ctx, cl)
	if err != nil {
		return report, err
	}
	for _, e := range chosen {
		if tags, _ := e.tags(); (only && len(tags) > 0) || len(s.cfg.Users(e.id)) > 0 {
			continue
		}
		gone, err := s.remove(ctx, cl, e, e.records, true)
		report.ImagesDeleted = append(report.ImagesDeleted, gone...)
		if err != nil {
			return report, err
		}
	}
	after, err := s.diskUse(ctx, cl)
	report.SpaceReclaimed = uint64(max(0, before-after))
	return report, err
}

// diskUse is the bytes of all unpacked layers, each once.
func (s *Store) diskUse(ctx context.Context, cl *client.Client) (int64, error) {
	all, err := s.entries(ctx, cl)
	if err != nil {
		return 0, err
	}
	seen := map[string]int64{}
	for _, e := range all {
		sizes, err := s.layerSizes(ctx, cl, e.detail)
		if err != nil {
			return 0, err
		}
		for i, n := range sizes {
			seen[e.config.RootFS.DiffIDs[i].String()] = n
		}
	}
	var sum int64
	for _, n := range seen {
		sum += n
	}
	return sum, nil
}

// DiskUse is the bytes that all images take unpacked, shared layers counted once.
func (s *Store) DiskUse(ctx context.Context) (int64, error) {
	ctx, cl := s.client(ctx)
	return s.diskUse(ctx, cl)
}

// sweep drops nameless records of images that have a name, or that got one again.
func (s *Store) sweep(ctx context.Context, cl *client.Client) error {
	all, err := s.entries(ctx, cl)
	if err != nil {
		return err
	}
	for _, e := range all {
		if len(e.named()) == 0 {
			continue
		}
		for _, r := range e.records {
			named := slices.ContainsFunc(e.named(), func(o images.Image) bool { return o.Target.Digest == r.Target.Digest })
			if dangling(r.Name) && named {
				if err := cl.ImageService().Delete(ctx, r.Name); err != nil && !errdefs.IsNotFound(err) {
					return fmt.Errorf("remove %s: %w", r.Name, err)
				}
			}
		}
	}
	return nil
}
