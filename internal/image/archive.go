package image

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/opencontainers/go-digest"

	"shoal/internal/cluster"
)

// Load reads images from a tar, plain or compressed: a docker-archive, an OCI layout, or one file that is both. Each
// image is unpacked and named as the archive says; a name that led elsewhere is moved. ErrInvalidArgument: this is no
// such archive. After an error some of the images may be there.
func (s *Store) Load(ctx context.Context, r io.Reader, progress Progress) error {
	ctx, cl := s.client(ctx)
	tar, err := compression.DecompressStream(r)
	if err != nil {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "invalid archive: %s", err)
	}
	defer tar.Close()
	ctx, done, err := cl.WithLease(ctx)
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	defer done(context.WithoutCancel(ctx)) //nolint:errcheck // the lease ends by itself
	before, err := cl.ImageService().List(ctx)
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	loaded, err := cl.Import(ctx, tar,
		client.WithImageRefTranslator(loadName),
		client.WithDigestRef(func(d digest.Digest) string { return danglingPrefix + d.String() }),
		client.WithSkipDigestRef(func(name string) bool { return name != "" }),
		client.WithImportPlatform(platforms.Default()))
	if err != nil {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "invalid archive: %s", err)
	}
	if len(loaded) == 0 {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "invalid archive: no image in it")
	}
	old := map[string]images.Image{}
	for _, r := range before {
		old[r.Name] = r
	}
	for _, r := range loaded {
		if err := s.loaded(ctx, cl, r, old, progress); err != nil {
			return err
		}
	}
	return nil
}

// loadName turns an OCI layout's ref.name into a record's name; a bare tag, as some tools write, names nothing.
func loadName(name string) string {
	if !strings.ContainsAny(name, "/:") {
		return ""
	}
	n, err := parse(name)
	if err != nil {
		return ""
	}
	return recordName(n)
}

// loaded finishes one imported record: its name in normal form, what it replaces kept, its layers unpacked.
func (s *Store) loaded(ctx context.Context, cl *client.Client, r images.Image, old map[string]images.Image, progress Progress) error {
	store := cl.ImageService()
	if !dangling(r.Name) {
		n, err := parse(r.Name)
		if err != nil {
			return cluster.Errorf(errdefs.ErrInvalidArgument, "invalid archive: image name %q: %s", r.Name, err)
		}
		if name := recordName(n); name != r.Name {
			if err := put(ctx, store, images.Image{Name: name, Target: r.Target}); err != nil {
				return err
			}
			if err := store.Delete(ctx, r.Name); err != nil && !errdefs.IsNotFound(err) {
				return fmt.Errorf("load %s: %w", r.Name, err)
			}
			r.Name = name
		}
	}
	if o, ok := old[r.Name]; ok && o.Target.Digest != r.Target.Digest {
		if err := s.keep(ctx, cl, o); err != nil {
			return err
		}
		if d, err := s.detail(ctx, cl, o.Target); err == nil {
			progress(jsonstream.Message{Stream: fmt.Sprintf("The image %s already exists, renaming the old one with ID %s to empty string\n", familiar(r.Name), d.id)})
		}
	}
	img, err := s.image(ctx, cl, r)
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	if dangling(r.Name) {
		progress(jsonstream.Message{Stream: "Loaded image ID: " + img.ID + "\n"})
	} else {
		progress(jsonstream.Message{Stream: "Loaded image: " + familiar(r.Name) + "\n"})
	}
	s.event(events.ActionLoad, familiar(r.Name), img)
	return nil
}

// put creates a record or moves it.
func put(ctx context.Context, store images.Store, r images.Image) error {
	_, err := store.Create(ctx, r)
	if errdefs.IsAlreadyExists(err) {
		_, err = store.Update(ctx, r)
	}
	if err != nil {
		return fmt.Errorf("image %s: %w", familiar(r.Name), err)
	}
	return nil
}

// Save writes images as one tar that is both a docker-archive and an OCI layout. An image named by ID is written
// without a name, a repository without a tag with all of its tags. ErrNotFound before anything is written: one of them
// is not here.
func (s *Store) Save(ctx context.Context, refs []string, w io.Writer) error {
	ctx, cl := s.client(ctx)
	opts := []archive.ExportOpt{archive.WithPlatform(platforms.Default())}
	for _, ref := range refs {
		m, err := s.find(ctx, cl, ref)
		if err != nil {
			return err
		}
		if err := s.complete(ctx, cl, m); err != nil {
			return err
		}
		switch r := m.best(); {
		case m.record == nil:
			opts = append(opts, archive.WithManifest(r.Target))
		default:
			opts = append(opts, archive.WithImages([]images.Image{r}))
		}
		s.cfg.Event(events.ActionSave, m.id, map[string]string{"name": ref})
	}
	if len(refs) == 0 {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "no image to save was named")
	}
	if err := cl.Export(ctx, w, opts...); err != nil {
		return fmt.Errorf("save: %w", err)
	}
	return nil
}

// Tag gives an image another name. ErrInvalidArgument: that is no name. A name that led elsewhere moves.
func (s *Store) Tag(ctx context.Context, ref, repo, tag string) error {
	n, err := reference.ParseNormalizedNamed(repo)
	if err != nil {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "%s", err)
	}
	if !reference.IsNameOnly(n) && tag == "" {
		tag = tagOf(n)
	}
	if _, ok := n.(reference.Digested); ok {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "refusing to create a tag with a digest reference")
	}
	if tag == "" {
		tag = "latest"
	}
	t, err := reference.WithTag(reference.TrimNamed(n), tag)
	if err != nil {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "%s", err)
	}
	ctx, cl := s.client(ctx)
	m, err := s.find(ctx, cl, ref)
	if err != nil {
		return err
	}
	store := cl.ImageService()
	if old, err := store.Get(ctx, t.String()); err == nil && old.Target.Digest != m.best().Target.Digest {
		if err := s.keep(ctx, cl, old); err != nil {
			return err
		}
	}
	if err := put(ctx, store, images.Image{Name: t.String(), Target: m.best().Target}); err != nil {
		return err
	}
	s.cfg.Event(events.ActionTag, m.id, map[string]string{"name": reference.FamiliarString(t)})
	return s.sweep(ctx, cl)
}
