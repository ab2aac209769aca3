package image

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// manifestLimit bounds what is read of a manifest, an index or a configuration, in bytes.
const manifestLimit = 8 << 20

// Distribution asks the registry (of Docker Hub: through the mirrors first) what a name leads to: digest and
// platforms. auth is an X-Registry-Auth header. Nothing is stored. ErrNotFound: the registry does not have it;
// ErrUnauthenticated: it does not tell us.
func (s *Store) Distribution(ctx context.Context, ref, auth string) (registry.DistributionInspect, error) {
	var out registry.DistributionInspect
	n, err := parse(ref)
	if err != nil {
		return out, err
	}
	creds, err := DecodeAuth(auth)
	if err != nil {
		return out, err
	}
	resolver := s.registries.resolver(creds)
	name, desc, err := resolver.Resolve(ctx, recordName(n))
	if err != nil {
		if refused(err) {
			return out, fmt.Errorf("%w: %w", errdefs.ErrUnauthenticated, err)
		}
		return out, pullError(n, err)
	}
	out.Descriptor = desc
	f, err := resolver.Fetcher(ctx, name)
	if err == nil {
		out.Platforms, err = remotePlatforms(ctx, f, desc)
	}
	if err != nil {
		return out, pullError(n, err)
	}
	return out, nil
}

func remotePlatforms(ctx context.Context, f remotes.Fetcher, desc ocispec.Descriptor) ([]ocispec.Platform, error) {
	if images.IsIndexType(desc.MediaType) {
		var index ocispec.Index
		if err := readRemote(ctx, f, desc, &index); err != nil {
			return nil, err
		}
		var all []ocispec.Platform
		for _, m := range index.Manifests {
			if m.Platform != nil && m.Platform.OS != "unknown" { // "unknown" marks attestations
				all = append(all, *m.Platform)
			}
		}
		return all, nil
	}
	var manifest ocispec.Manifest
	if err := readRemote(ctx, f, desc, &manifest); err != nil {
		return nil, err
	}
	var config ocispec.Image
	if err := readRemote(ctx, f, manifest.Config, &config); err != nil {
		return nil, err
	}
	return []ocispec.Platform{config.Platform}, nil
}

func readRemote(ctx context.Context, f remotes.Fetcher, desc ocispec.Descriptor, into any) error {
	r, err := f.Fetch(ctx, desc)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := json.NewDecoder(io.LimitReader(r, manifestLimit)).Decode(into); err != nil {
		return fmt.Errorf("decode %s: %w", desc.Digest, err)
	}
	return nil
}
