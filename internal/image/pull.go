package image

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/jsonstream"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"shoal/internal/cluster"
)

// pulledLabel marks records whose digest a registry knows.
const pulledLabel = "shoal.pulled"

// Pull brings an image from its registry (of Docker Hub: through the mirrors first) and unpacks it. auth is an
// X-Registry-Auth header, empty for none; progress may be nil. After an error the name leads to what it led to
// before; layers that were fetched stay for a short while and make the next try cheaper.
func (s *Store) Pull(ctx context.Context, ref, auth string, progress Progress) (*Image, error) {
	n, err := parse(ref)
	if err != nil {
		return nil, err
	}
	creds, err := DecodeAuth(auth)
	if err != nil {
		return nil, err
	}
	if progress == nil {
		progress = func(jsonstream.Message) {}
	}
	ctx, cl := s.client(ctx)
	name := recordName(n)
	resolver := s.registries.resolver(creds)
	_, desc, err := resolver.Resolve(ctx, name)
	if err != nil {
		return nil, pullError(n, err)
	}
	progress(jsonstream.Message{Status: "Pulling from " + reference.Path(n), ID: tagOf(n)})
	img, fresh, err := s.present(ctx, cl, name, desc)
	if err == nil && img == nil {
		img, err = s.fetch(ctx, cl, name, resolved{resolver, desc}, progress)
	}
	if err != nil {
		return nil, pullError(n, err)
	}
	s.known(name)
	progress(jsonstream.Message{Status: "Digest: " + desc.Digest.String()})
	if fresh {
		progress(jsonstream.Message{Status: "Status: Image is up to date for " + reference.FamiliarString(n)})
	} else {
		progress(jsonstream.Message{Status: "Status: Downloaded newer image for " + reference.FamiliarString(n)})
	}
	s.event(events.ActionPull, reference.FamiliarString(n), img)
	return img, nil
}

// present returns the image if name already leads to desc; nil if it has to be fetched. When the name leads elsewhere,
// a dangling record keeps what it led to until now.
func (s *Store) present(ctx context.Context, cl *client.Client, name string, desc ocispec.Descriptor) (*Image, bool, error) {
	r, err := cl.ImageService().Get(ctx, name)
	switch {
	case errdefs.IsNotFound(err):
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("image %s: %w", familiar(name), err)
	case r.Target.Digest != desc.Digest:
		return nil, false, s.keep(ctx, cl, r)
	}
	img, err := s.image(ctx, cl, r)
	if err != nil {
		s.log.Info("fetching a present image again", "name", name, "error", err)
		return nil, true, nil
	}
	if r.Labels[pulledLabel] == "" { // loaded from an archive until now, and the registry has the very same
		r.Labels = map[string]string{pulledLabel: "yes"}
		if _, err := cl.ImageService().Update(ctx, r, "labels"); err != nil {
			return nil, true, fmt.Errorf("image %s: %w", familiar(name), err)
		}
	}
	return img, true, nil
}

// keep gives the content of a record that is about to move or go a dangling one, so that it stays.
func (s *Store) keep(ctx context.Context, cl *client.Client, r images.Image) error {
	_, err := cl.ImageService().Create(ctx, images.Image{Name: danglingPrefix + r.Target.Digest.String(), Target: r.Target})
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return fmt.Errorf("keep %s: %w", r.Target.Digest, err)
	}
	return nil
}

func (s *Store) fetch(ctx context.Context, cl *client.Client, name string, from remotes.Resolver, progress Progress) (*Image, error) {
	p := newLayers(cl.ContentStore(), progress)
	stop := p.watch(ctx)
	h, err := cl.Pull(ctx, name, client.WithResolver(from), client.WithPullUnpack, client.WithPullSnapshotter(Snapshotter),
		client.WithPullLabel(pulledLabel, "yes"), client.WithImageHandler(p))
	stop(err)
	if err != nil {
		return nil, err
	}
	d, err := s.detail(ctx, cl, h.Target())
	if err != nil {
		return nil, err
	}
	return &Image{ID: d.id, Name: h.Name(), Target: h.Target(), Config: d.config, Handle: h}, nil
}

// resolved spares a second look-up of a name.
type resolved struct {
	remotes.Resolver
	desc ocispec.Descriptor
}

func (r resolved) Resolve(_ context.Context, name string) (string, ocispec.Descriptor, error) {
	return name, r.desc, nil
}

func tagOf(n reference.Named) string {
	if d := pinned(n); d != "" {
		return d.String()
	}
	if t, ok := n.(reference.Tagged); ok {
		return t.Tag()
	}
	return ""
}

// pullError says why a pull failed, in Docker's words where it has them.
func pullError(n reference.Named, err error) error {
	name := reference.FamiliarName(n)
	switch {
	case refused(err):
		return cluster.Errorf(errdefs.ErrNotFound, "pull access denied for %s, repository does not exist or may require 'docker login': denied: %s", name, err)
	case errdefs.IsNotFound(err):
		if pinned(n) == "" {
			return cluster.Errorf(errdefs.ErrNotFound, "manifest for %s not found: manifest unknown: manifest unknown", reference.FamiliarString(n))
		}
		return cluster.Errorf(errdefs.ErrNotFound, "manifest for %s@%s not found: manifest unknown: manifest unknown", name, pinned(n))
	}
	return fmt.Errorf("pull %s: %w", reference.FamiliarString(n), err)
}

func (s *Store) event(a events.Action, ref string, img *Image) {
	s.cfg.Event(a, ref, map[string]string{"name": ref, "image": img.ID})
}
