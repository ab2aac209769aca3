package image

import (
	"context"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// beat is how often a download's progress is looked at.
const beat = 100 * time.Millisecond

// layers tells how the layers of a pull come in. It hears of them as an images.Handler and reads the rest from the
// content store, which knows the bytes of each transfer.
type layers struct {
	store content.Store

	mu      sync.Mutex // guards order and state, and makes the progress calls one at a time
	tell    Progress
	order   []ocispec.Descriptor
	arrived map[digest.Digest]bool
}

func newLayers(store content.Store, tell Progress) *layers {
	return &layers{store: store, tell: tell, arrived: map[digest.Digest]bool{}}
}

// Handle notes a layer; it leads to no children of its own.
func (l *layers) Handle(ctx context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	if !images.IsLayerType(d.MediaType) {
		return nil, nil
	}
	_, err := l.store.Info(ctx, d.Digest)
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.arrived[d.Digest]; known {
		return nil, nil
	}
	l.arrived[d.Digest] = err == nil
	if err == nil {
		l.say(d, "Already exists", nil)
		return nil, nil
	}
	l.order = append(l.order, d)
	l.say(d, "Pulling fs layer", nil)
	return nil, nil
}

// watch reports until the returned function is called with the pull's outcome.
func (l *layers) watch(ctx context.Context) (stop func(error)) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		t := time.NewTicker(beat)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
				l.look(ctx)
			}
		}
	})
	return func(err error) {
		cancel()
		wg.Wait()
		if err != nil {
			return
		}
		for _, d := range l.order {
			if !l.arrived[d.Digest] {
				l.say(d, "Download complete", nil)
			}
			l.say(d, "Pull complete", nil)
		}
	}
}

func (l *layers) look(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.order {
		if l.arrived[d.Digest] {
			continue
		}
		if st, err := l.store.Status(ctx, remotes.MakeRefKey(ctx, d)); err == nil {
			l.say(d, "Downloading", &jsonstream.Progress{Current: st.Offset, Total: d.Size})
			continue
		}
		if _, err := l.store.Info(ctx, d.Digest); err == nil {
			l.arrived[d.Digest] = true
			l.say(d, "Download complete", nil)
			l.say(d, "Extracting", &jsonstream.Progress{Current: d.Size, Total: d.Size})
		}
	}
}

func (l *layers) say(d ocispec.Descriptor, status string, p *jsonstream.Progress) {
	if p == nil {
		p = &jsonstream.Progress{}
	}
	l.tell(jsonstream.Message{ID: d.Digest.Encoded()[:12], Status: status, Progress: p})
}
