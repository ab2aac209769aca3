package image

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/storage"
	"github.com/opencontainers/image-spec/identity"
)

// Inspect returns all about one image. ErrNotFound in Docker's words.
func (s *Store) Inspect(ctx context.Context, ref string) (image.InspectResponse, error) {
	ctx, cl := s.client(ctx)
	m, err := s.find(ctx, cl, ref)
	if err != nil {
		return image.InspectResponse{}, err
	}
	size, err := s.size(ctx, cl, m.detail)
	if err != nil {
		return image.InspectResponse{}, err
	}
	tags, digests := m.tags()
	c := m.config
	out := image.InspectResponse{
		ID: m.id, RepoTags: tags, RepoDigests: digests, Author: c.Author, Config: &c.Config, Architecture: c.Architecture,
		Variant: c.Variant, Os: c.OS, OsVersion: c.OSVersion, Size: size,
		GraphDriver: &storage.DriverData{Name: Snapshotter, Data: map[string]string{}},
		RootFS:      image.RootFS{Type: c.RootFS.Type},
		Metadata:    image.Metadata{LastTagTime: m.best().UpdatedAt},
	}
	if out.RepoTags == nil {
		out.RepoTags = []string{}
	}
	if out.RepoDigests == nil {
		out.RepoDigests = []string{}
	}
	if c.Created != nil {
		out.Created = c.Created.Format(time.RFC3339Nano)
	}
	if n := len(c.History); n > 0 {
		out.Comment = c.History[n-1].Comment
	}
	for _, d := range c.RootFS.DiffIDs {
		out.RootFS.Layers = append(out.RootFS.Layers, d.String())
	}
	return out, nil
}

// History returns the steps that made an image, newest first. Their own IDs are not known: only the newest has one.
func (s *Store) History(ctx context.Context, ref string) ([]image.HistoryResponseItem, error) {
	ctx, cl := s.client(ctx)
	m, err := s.find(ctx, cl, ref)
	if err != nil {
		return nil, err
	}
	sizes, err := s.layerSizes(ctx, cl, m.detail)
	if err != nil {
		return nil, err
	}
	steps := m.config.History
	out := make([]image.HistoryResponseItem, len(steps))
	layer := 0
	for i, h := range steps {
		item := image.HistoryResponseItem{ID: "<missing>", Comment: h.Comment, CreatedBy: h.CreatedBy}
		if h.Created != nil {
			item.Created = h.Created.Unix()
		}
		if !h.EmptyLayer && layer < len(sizes) {
			item.Size = sizes[layer]
			layer++
		}
		out[len(steps)-1-i] = item
	}
	if len(out) > 0 {
		out[0].ID = m.id
		out[0].Tags, _ = m.tags()
	}
	return out, nil
}

// layerSizes are the bytes of each unpacked layer, lowest first. A layer that is not unpacked counts by its blob.
func (s *Store) layerSizes(ctx context.Context, cl *client.Client, d *detail) ([]int64, error) {
	sn := cl.SnapshotService(Snapshotter)
	ids := d.config.RootFS.DiffIDs
	sizes := make([]int64, len(ids))
	for i := range ids {
		u, err := sn.Usage(ctx, identity.ChainID(ids[:i+1]).String())
		switch {
		case err == nil:
			sizes[i] = u.Size
		case !errdefs.IsNotFound(err):
			return nil, fmt.Errorf("size of layer %s: %w", ids[i], err)
		case i < len(d.manifest.Layers):
			sizes[i] = d.manifest.Layers[i].Size
		}
	}
	return sizes, nil
}
