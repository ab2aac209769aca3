package image

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteserrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"shoal/internal/cluster"
)

const (
	// patience is how long the registries may take before a present image is used as it is.
	patience = 15 * time.Second
	// absence is how long we believe that no registry gives us a name that is present here.
	absence = time.Minute
)

// Ensure returns the image that a task needs. A name pinned by digest is used as it is when present, without asking
// anybody. Any other name is looked up in its registry, since it may have moved; if no registry gives it and the node
// has it, what the node has is used. Calls for the same image at the same time share one pull.
// ErrNotFound, "No such image: x": nobody has it; the text goes on with the cause when it is not just that.
func (s *Store) Ensure(ctx context.Context, ref, auth string) (*Image, error) {
	n, err := parse(ref)
	if err != nil {
		return nil, err
	}
	ctx, cl := s.client(ctx)
	if d := pinned(n); d != "" {
		if img, err := s.byDigest(ctx, cl, d); img != nil || err != nil {
			return img, err
		}
	} else if s.isAbsent(recordName(n)) {
		if img, err := s.local(ctx, cl, n); img != nil || err != nil {
			return img, err
		}
	}
	return s.pulls.do(ctx, recordName(n)+" "+auth, func(ctx context.Context) (*Image, error) {
		return s.ensure(ctx, cl, n, auth)
	})
}

func (s *Store) ensure(ctx context.Context, cl *client.Client, n reference.Named, auth string) (*Image, error) {
	var have *Image
	if pinned(n) == "" {
		var err error
		if have, err = s.local(ctx, cl, n); err != nil {
			return nil, err
		}
	}
	if have != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	img, err := s.Pull(ctx, n.String(), auth, nil)
	switch {
	case err == nil:
		return img, nil
	case have != nil:
		s.log.Info("image is used as the node has it", "image", reference.FamiliarString(n), "reason", err)
		s.markAbsent(recordName(n))
		return have, nil
	case errdefs.IsNotFound(err):
		return nil, cluster.Errorf(errdefs.ErrNotFound, "No such image: %s", reference.FamiliarString(n))
	}
	return nil, &missing{fmt.Sprintf("No such image: %s: %s", reference.FamiliarString(n), err), err}
}

// missing is the sentence that tools look for, with the class of its cause.
type missing struct {
	text  string
	cause error
}

func (m *missing) Error() string { return m.text }
func (m *missing) Unwrap() error { return m.cause }

// local returns what the node has under a name; nil: nothing.
func (s *Store) local(ctx context.Context, cl *client.Client, n reference.Named) (*Image, error) {
	r, err := cl.ImageService().Get(ctx, recordName(n))
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", reference.FamiliarString(n), err)
	}
	return s.image(ctx, cl, r)
}

// byDigest returns a present image whose name leads to exactly this digest; nil: none.
func (s *Store) byDigest(ctx context.Context, cl *client.Client, d digest.Digest) (*Image, error) {
	records, err := cl.ImageService().List(ctx, "target.digest=="+d.String())
	if err != nil {
		return nil, fmt.Errorf("images with digest %s: %w", d, err)
	}
	for _, r := range records {
		if img, err := s.image(ctx, cl, r); err == nil {
			return img, nil
		}
	}
	return nil, nil // none, or incomplete: a pull puts it right
}

func (s *Store) isAbsent(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Before(s.absent[name])
}

func (s *Store) markAbsent(name string) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.absent, func(_ string, until time.Time) bool { return now.After(until) })
	s.absent[name] = now.Add(absence)
}

// known undoes markAbsent.
func (s *Store) known(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.absent, name)
}

// refused says whether a registry turned our credentials, or the lack of them, down.
func refused(err error) bool {
	if errors.Is(err, docker.ErrInvalidAuthorization) || errdefs.IsUnauthorized(err) || errdefs.IsPermissionDenied(err) {
		return true
	}
	status, ok := errors.AsType[remoteserrors.ErrUnexpectedStatus](err)
	return ok && (status.StatusCode == http.StatusUnauthorized || status.StatusCode == http.StatusForbidden)
}
