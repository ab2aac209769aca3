package image

import (
	"context"
	"io"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/registry"
)

type detail struct{}
type registries struct{}

func newRegistries(a, b []string) (registries, error) { return registries{}, nil }

// Filters are a request's filters: values by key.
type Filters map[string][]string

// Pull …
func (s *Store) Pull(ctx context.Context, ref, auth string, progress Progress) (*Image, error) {
	return nil, errdefs.ErrNotImplemented
}

// Ensure …
func (s *Store) Ensure(ctx context.Context, ref, auth string) (*Image, error) {
	return nil, errdefs.ErrNotImplemented
}

// Get …
func (s *Store) Get(ctx context.Context, ref string) (*Image, error) {
	return nil, errdefs.ErrNotImplemented
}

// Distribution …
func (s *Store) Distribution(ctx context.Context, ref, auth string) (registry.DistributionInspect, error) {
	return registry.DistributionInspect{}, errdefs.ErrNotImplemented
}

// Load …
func (s *Store) Load(ctx context.Context, r io.Reader, quiet bool, progress Progress) error {
	return errdefs.ErrNotImplemented
}

// Save …
func (s *Store) Save(ctx context.Context, refs []string, w io.Writer) error {
	return errdefs.ErrNotImplemented
}

// List …
func (s *Store) List(ctx context.Context, f Filters) ([]image.Summary, error) {
	return nil, errdefs.ErrNotImplemented
}

// Inspect …
func (s *Store) Inspect(ctx context.Context, ref string) (image.InspectResponse, error) {
	return image.InspectResponse{}, errdefs.ErrNotImplemented
}

// History …
func (s *Store) History(ctx context.Context, ref string) ([]image.HistoryResponseItem, error) {
	return nil, errdefs.ErrNotImplemented
}

// Tag …
func (s *Store) Tag(ctx context.Context, ref, repo, tag string) error {
	return errdefs.ErrNotImplemented
}

// Remove …
func (s *Store) Remove(ctx context.Context, ref string, force bool) ([]image.DeleteResponse, error) {
	return nil, errdefs.ErrNotImplemented
}

// Prune …
func (s *Store) Prune(ctx context.Context, f Filters) (image.PruneReport, error) {
	return image.PruneReport{}, errdefs.ErrNotImplemented
}

// Push …
func (s *Store) Push(ctx context.Context, ref, auth string, progress Progress) error {
	return errdefs.ErrNotImplemented
}
