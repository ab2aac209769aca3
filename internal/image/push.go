package image

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"shoal/internal/cluster"
)

// Push sends a named image to its registry: the manifest of this platform and what it needs. progress may be nil.
// ErrNotFound: no such name here; ErrUnauthenticated: the registry refuses us. After an error the registry may have
// some of the layers, and the name leads where it led.
func (s *Store) Push(ctx context.Context, ref, auth string, progress Progress) error {
	n, err := parse(ref)
	if err != nil {
		return err
	}
	creds, err := DecodeAuth(auth)
	if err != nil {
		return err
	}
	if progress == nil {
		progress = func(jsonstream.Message) {}
	}
	ctx, cl := s.client(ctx)
	m, err := s.find(ctx, cl, n.String())
	if err != nil || m.record == nil {
		return cluster.Errorf(errdefs.ErrNotFound, "An image does not exist locally with the tag: %s", reference.FamiliarName(n))
	}
	if err := s.complete(ctx, cl, m); err != nil {
		return err
	}
	progress(jsonstream.Message{Status: fmt.Sprintf("The push refers to repository [%s]", n.Name())})
	target, err := platformManifest(ctx, cl, m.record.Target)
	if err != nil {
		return err
	}
	tracker := docker.NewInMemoryTracker()
	resolver := docker.NewResolver(docker.ResolverOptions{
		Hosts: pushHosts(s.registries.hosts(creds)), Tracker: tracker,
		Headers: http.Header{"User-Agent": {"shoal"}},
	})
	p := &pushed{tell: progress, tracker: tracker}
	if err := cl.Push(ctx, recordName(n), target, client.WithResolver(resolver), client.WithImageHandler(p)); err != nil {
		if refused(err) {
			return cluster.Errorf(errdefs.ErrUnauthenticated, "denied: requested access to the resource is denied: %s", err)
		}
		return fmt.Errorf("push %s: %w", reference.FamiliarString(n), err)
	}
	p.finish(ctx)
	if r := *m.record; r.Target.Digest == target.Digest && r.Labels[pulledLabel] == "" {
		r.Labels = map[string]string{pulledLabel: "yes"}
		if _, err := cl.ImageService().Update(ctx, r, "labels"); err != nil {
			return fmt.Errorf("push %s: %w", reference.FamiliarString(n), err)
		}
	}
	progress(jsonstream.Message{Status: fmt.Sprintf("%s: digest: %s size: %d", tagOf(n), target.Digest, target.Size)})
	if aux, err := json.Marshal(map[string]any{"Tag": tagOf(n), "Digest": target.Digest, "Size": target.Size}); err == nil {
		progress(jsonstream.Message{Aux: (*json.RawMessage)(&aux)})
	}
	s.cfg.Event(events.ActionPush, reference.FamiliarString(n), map[string]string{"name": reference.FamiliarString(n)})
	return nil
}

// pushHosts leaves the registry itself: containerd pushes to the first one that may be pushed to.
func pushHosts(hosts docker.RegistryHosts) docker.RegistryHosts {
	return func(domain string) ([]docker.RegistryHost, error) {
		all, err := hosts(domain)
		if err != nil || len(all) == 0 {
			return all, err
		}
		return all[len(all)-1:], nil
	}
}

// platformManifest is the manifest of this platform that target is or holds. We have no other platform's content.
func platformManifest(ctx context.Context, cl *client.Client, target ocispec.Descriptor) (ocispec.Descriptor, error) {
	if !images.IsIndexType(target.MediaType) {
		return target, nil
	}
	children, err := images.Children(ctx, cl.ContentStore(), target)
	if err != nil {
		return target, fmt.Errorf("index %s: %w", target.Digest, err)
	}
	for _, c := range children {
		if c.Platform == nil || platforms.Default().Match(*c.Platform) {
			if _, err := cl.ContentStore().Info(ctx, c.Digest); err == nil {
				return c, nil
			}
		}
	}
	return target, cluster.Errorf(errdefs.ErrNotFound, "index %s holds no image for this platform", target.Digest)
}

// pushed tells how the layers of a push go out.
type pushed struct {
	tracker docker.StatusTracker

	mu   sync.Mutex // guards all, and makes the calls one at a time
	tell Progress
	all  []ocispec.Descriptor
}

// Handle notes a layer; it leads to no children of its own.
func (p *pushed) Handle(_ context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	if images.IsLayerType(d.MediaType) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.all = append(p.all, d)
		p.tell(jsonstream.Message{ID: d.Digest.Encoded()[:12], Status: "Pushing", Progress: &jsonstream.Progress{Total: d.Size}})
	}
	return nil, nil
}

func (p *pushed) finish(ctx context.Context) {
	for _, d := range p.all {
		word := "Pushed"
		if st, err := p.tracker.GetStatus(remotes.MakeRefKey(ctx, d)); err == nil && st.Exists {
			word = "Layer already exists"
		}
		p.tell(jsonstream.Message{ID: d.Digest.Encoded()[:12], Status: word, Progress: &jsonstream.Progress{}})
	}
}

// complete fetches the blobs of an image that are not here: a pull leaves out layers whose content another image had
// already unpacked.
func (s *Store) complete(ctx context.Context, cl *client.Client, m match) error {
	cs := cl.ContentStore()
	var want []ocispec.Descriptor
	for _, l := range m.manifest.Layers {
		if _, err := cs.Info(ctx, l.Digest); errdefs.IsNotFound(err) {
			want = append(want, l)
		} else if err != nil {
			return fmt.Errorf("layer %s: %w", l.Digest, err)
		}
	}
	if len(want) == 0 {
		return nil
	}
	name := m.best().Name
	for _, r := range m.records {
		if r.Labels[pulledLabel] != "" {
			name = r.Name
		}
	}
	f, err := s.registries.resolver(registry.AuthConfig{}).Fetcher(ctx, name)
	if err != nil {
		return fmt.Errorf("layers of %s: %w", familiar(name), err)
	}
	for _, l := range want {
		if err := fetchBlob(ctx, cs, f, l); err != nil {
			return fmt.Errorf("layer %s of %s, which an earlier pull did not need: %w", l.Digest, familiar(name), err)
		}
	}
	return nil
}

func fetchBlob(ctx context.Context, cs content.Store, f remotes.Fetcher, d ocispec.Descriptor) error {
	_, err := remotes.FetchHandler(cs, f)(ctx, d)
	return err
}
