package controlplane

import (
	"context"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// The sizes in bytes that secrets and configs must stay below.
const (
	maxSecretBytes = 500 * 1024
	maxConfigBytes = 1000 * 1024
)

// Secrets lists secrets by filter (id, name and their beginnings; names, whole; label), without their data.
func (c *Control) Secrets(f Filters) ([]swarm.Secret, error) {
	if err := f.Check("id", "name", "names", "label"); err != nil {
		return nil, err
	}
	list := []swarm.Secret{}
	for _, s := range secrets.list(c, f) {
		list = append(list, secretOut(s))
	}
	return list, nil
}

// Secret is one secret by ID, name or unique beginning of an ID, without its data.
func (c *Control) Secret(ref string) (swarm.Secret, error) {
	s, err := store.Secrets.Find(c.Store.View(), ref)
	if err != nil {
		return swarm.Secret{}, err
	}
	return secretOut(s), nil
}

func secretOut(s *cluster.Secret) swarm.Secret {
	out := s.Secret
	out.Spec.Data = nil
	return out
}

// CreateSecret stores a secret and returns its ID. ErrAlreadyExists when the name is taken.
func (c *Control) CreateSecret(ctx context.Context, spec swarm.SecretSpec) (string, error) {
	if err := checkBlobName(spec.Name); err != nil {
		return "", err
	}
	if spec.Driver != nil {
		if spec.Driver.Name == "" {
			return "", invalid("secret driver must have a name")
		}
		return "", cluster.Errorf(errdefs.ErrNotImplemented, "secret driver %q: plugins are not supported", spec.Driver.Name)
	}
	if err := secrets.checkData(spec.Data); err != nil {
		return "", err
	}
	if err := checkTemplating(spec.Templating); err != nil {
		return "", err
	}
	s := &cluster.Secret{}
	s.Spec = spec
	return secrets.create(ctx, c, s)
}

// UpdateSecret replaces a secret's labels; anything else in spec must be as stored.
func (c *Control) UpdateSecret(ctx context.Context, ref string, version uint64, spec swarm.SecretSpec) error {
	return secrets.update(ctx, c, ref, version, spec.Annotations, spec.Data)
}

// RemoveSecret deletes a secret that no service uses.
func (c *Control) RemoveSecret(ctx context.Context, ref string) error {
	return secrets.remove(ctx, c, ref)
}

// RotateSecret gives the secret of that name new data; see [Rotation].
func (c *Control) RotateSecret(ctx context.Context, ref string, data []byte) (Rotation, error) {
	return secrets.rotate(ctx, c, ref, data)
}
