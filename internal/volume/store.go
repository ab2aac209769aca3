package volume

import (
	"context"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/volume"
)

// Store is the volumes of one node. All methods may be called concurrently.
type Store struct{}

// New …
func New(dir string) (*Store, error) { return &Store{}, nil }

// SetInUse …
func (s *Store) SetInUse(f func(name string) []string) {}

// Filters are a request's filters: values by key.
type Filters map[string][]string

// Create …
func (s *Store) Create(o volume.CreateRequest) (volume.Volume, error) {
	return volume.Volume{}, errdefs.ErrNotImplemented
}

// Get …
func (s *Store) Get(name string) (volume.Volume, error) {
	return volume.Volume{}, errdefs.ErrNotImplemented
}

// List …
func (s *Store) List(f Filters) ([]volume.Volume, error) { return nil, errdefs.ErrNotImplemented }

// Remove …
func (s *Store) Remove(name string, force bool) error { return errdefs.ErrNotImplemented }

// Prune …
func (s *Store) Prune(f Filters) (volume.PruneReport, error) {
	return volume.PruneReport{}, errdefs.ErrNotImplemented
}

// Mount makes the volume usable by user (a container's ID) and returns its directory on the host. Calls with the same
// user count once.
func (s *Store) Mount(ctx context.Context, name, user string) (string, error) {
	return "", errdefs.ErrNotImplemented
}

// Unmount ends user's use of the volume.
func (s *Store) Unmount(name, user string) error { return errdefs.ErrNotImplemented }

// Populate copies the content of the directory src into the volume if it is empty.
func (s *Store) Populate(name, src string) error { return errdefs.ErrNotImplemented }
