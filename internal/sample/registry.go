package sample

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Registry is an image registry in memory. What it holds is gone when it ends.
type Registry struct {
	handler http.Handler
}

// NewRegistry returns an empty registry.
func NewRegistry() *Registry {
	return &Registry{handler: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
}

// ServeHTTP speaks the OCI distribution API.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) { r.handler.ServeHTTP(w, req) }

// Add stores img as repository:tag. A name without a slash is stored below library/ too, where a mirror of Docker Hub is asked.
func (r *Registry) Add(ctx context.Context, repository, tag string, img v1.Image) error {
	for _, repo := range []string{repository, "library/" + repository} {
		ref, err := name.NewTag("memory.invalid/"+repo+":"+tag, name.Insecure)
		if err != nil {
			return fmt.Errorf("image %s:%s: %w", repository, tag, err)
		}
		if err := remote.Write(ref, img, remote.WithContext(ctx), remote.WithTransport(direct{r})); err != nil {
			return fmt.Errorf("image %s:%s: %w", repository, tag, err)
		}
	}
	return nil
}

// Serve answers on l until ctx ends.
func (r *Registry) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{Handler: r, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// direct carries requests to a handler without a socket.
type direct struct{ handler http.Handler }

// RoundTrip implements http.RoundTripper. Answers are held in memory: it is for writing images, not for reading large ones.
func (d direct) RoundTrip(req *http.Request) (*http.Response, error) {
	out := newAnswer(req)
	d.handler.ServeHTTP(out, served(req))
	return out.response(), nil
}
