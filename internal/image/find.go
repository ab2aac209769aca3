package image

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"shoal/internal/cluster"
)

// detail is what a target leads to on this platform. It is immutable: everything in it follows from a digest.
type detail struct {
	id       string // digest of the configuration
	manifest ocispec.Manifest
	config   dockerspec.DockerOCIImage
}

// entry is one image as users see it: all records that lead to one configuration.
type entry struct {
	*detail
	records []images.Image // by name; never empty
}

// tags are the entry's "repo:tag" names, digests its "repo@sha256:…" names.
func (e *entry) tags() (tags, digests []string) {
	for _, r := range e.records {
		tag, repo := split(r.Name)
		if tag != "" {
			tags = append(tags, tag)
		}
		// What was loaded from an archive has no digest that a registry knows.
		if repo != "" && (r.Labels[pulledLabel] != "" || tag == "") {
			digests = append(digests, repo+"@"+r.Target.Digest.String())
		}
	}
	slices.Sort(digests)
	return tags, slices.Compact(digests)
}

// named are the records that have a name.
func (e *entry) named() []images.Image {
	return slices.DeleteFunc(slices.Clone(e.records), func(r images.Image) bool { return dangling(r.Name) })
}

// detail reads what a target leads to, or remembers it. ErrNotFound: the content is not here, or not for this platform.
func (s *Store) detail(ctx context.Context, cl *client.Client, target ocispec.Descriptor) (*detail, error) {
	s.mu.Lock()
	d := s.details[target.Digest]
	s.mu.Unlock()
	if d != nil {
		return d, nil
	}
	cs := cl.ContentStore()
	m, err := images.Manifest(ctx, cs, target, platforms.Default())
	if err != nil {
		return nil, fmt.Errorf("manifest of %s: %w", target.Digest, err)
	}
	b, err := content.ReadBlob(ctx, cs, m.Config)
	if err != nil {
		return nil, fmt.Errorf("configuration of %s: %w", target.Digest, err)
	}
	d = &detail{id: m.Config.Digest.String(), manifest: m}
	if err := json.Unmarshal(b, &d.config); err != nil {
		return nil, fmt.Errorf("configuration of %s: %w", target.Digest, err)
	}
	s.mu.Lock()
	s.details[target.Digest] = d
	s.mu.Unlock()
	return d, nil
}

// forget drops remembered details that no record leads to any more.
func (s *Store) forget(records []images.Image) {
	keep := map[digest.Digest]bool{}
	for _, r := range records {
		keep[r.Target.Digest] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.details, func(d digest.Digest, _ *detail) bool { return !keep[d] })
}

// entries returns all images by ID. Records that lead nowhere on this platform are left out.
func (s *Store) entries(ctx context.Context, cl *client.Client) (map[string]*entry, error) {
	records, err := cl.ImageService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	s.forget(records)
	slices.SortFunc(records, func(a, b images.Image) int { return strings.Compare(a.Name, b.Name) })
	all := map[string]*entry{}
	for _, r := range records {
		d, err := s.detail(ctx, cl, r.Target)
		if err != nil {
			s.log.Debug("image record leads nowhere", "name", r.Name, "error", err)
			continue
		}
		if all[d.id] == nil {
			all[d.id] = &entry{detail: d}
		}
		all[d.id].records = append(all[d.id].records, r)
	}
	return all, nil
}

// match is an image that was found, and the record whose name was asked for; record is nil when it was found by ID.
type match struct {
	*entry
	record *images.Image
}

// best is the record to work with: the one asked for, or else the first.
func (m match) best() images.Image {
	if m.record != nil {
		return *m.record
	}
	return m.records[0]
}

// find returns the image that ref means: by name, by digest, by ID or by a unique start of an ID. ErrNotFound in
// Docker's words.
func (s *Store) find(ctx context.Context, cl *client.Client, ref string) (match, error) {
	all, err := s.entries(ctx, cl)
	if err != nil {
		return match{}, err
	}
	if n, err := parse(ref); err == nil {
		if m, ok := byName(all, n); ok {
			return m, nil
		}
	} else if !idPattern.MatchString(ref) {
		return match{}, err
	}
	if idPattern.MatchString(ref) {
		return byID(all, ref)
	}
	return match{}, notFound(ref)
}

func byName(all map[string]*entry, n reference.Named) (match, bool) {
	name, d := recordName(n), pinned(n)
	var found match
	for _, id := range slices.Sorted(maps.Keys(all)) {
		for i, r := range all[id].records {
			if r.Name == name {
				return match{all[id], &all[id].records[i]}, true
			}
			if d == "" || r.Target.Digest != d || found.entry != nil {
				continue
			}
			if _, repo := split(r.Name); repo == reference.FamiliarName(n) {
				found = match{all[id], &all[id].records[i]}
			}
		}
	}
	return found, found.entry != nil
}

func byID(all map[string]*entry, ref string) (match, error) {
	prefix := "sha256:" + strings.TrimPrefix(ref, "sha256:")
	var found *entry
	for id, e := range all {
		if !strings.HasPrefix(id, prefix) && !slices.ContainsFunc(e.records, func(r images.Image) bool { return r.Target.Digest.String() == prefix }) {
			continue
		}
		if found != nil {
			return match{}, cluster.Errorf(errdefs.ErrNotFound, "No such image: %s (it is the start of several IDs)", ref)
		}
		found = e
	}
	if found == nil {
		return match{}, notFound(ref)
	}
	return match{entry: found}, nil
}

// Get returns a present image by name, digest, ID or a unique start of an ID, unpacked. It asks no registry.
// ErrNotFound in Docker's words.
func (s *Store) Get(ctx context.Context, ref string) (*Image, error) {
	ctx, cl := s.client(ctx)
	if n, err := reference.ParseNormalizedNamed(ref); err == nil && !idPattern.MatchString(ref) {
		r, err := cl.ImageService().Get(ctx, recordName(reference.TagNameOnly(n))) // the common case, without a list
		if err == nil {
			return s.image(ctx, cl, r)
		}
		if !errdefs.IsNotFound(err) {
			return nil, fmt.Errorf("image %s: %w", ref, err)
		}
	}
	m, err := s.find(ctx, cl, ref)
	if err != nil {
		return nil, err
	}
	return s.image(ctx, cl, m.best())
}

// image makes a record usable: it unpacks it if that has not been done.
func (s *Store) image(ctx context.Context, cl *client.Client, r images.Image) (*Image, error) {
	d, err := s.detail(ctx, cl, r.Target)
	if err != nil {
		return nil, err
	}
	h := client.NewImage(cl, r)
	ok, err := h.IsUnpacked(ctx, Snapshotter)
	if err == nil && !ok {
		err = h.Unpack(ctx, Snapshotter)
	}
	if err != nil {
		return nil, fmt.Errorf("unpack image %s: %w", familiar(r.Name), err)
	}
	return &Image{ID: d.id, Name: r.Name, Target: r.Target, Config: d.config, Handle: h}, nil
}
