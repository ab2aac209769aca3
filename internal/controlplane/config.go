package controlplane

import (
	"context"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// Configs lists configs by filter (id, name and their beginnings; label).
func (c *Control) Configs(f Filters) ([]swarm.Config, error) {
	if err := f.Check("id", "name", "names", "label"); err != nil {
		return nil, err
	}
	list := []swarm.Config{}
	for _, o := range configs.list(c, f) {
		list = append(list, o.Config)
	}
	return list, nil
}

// Config is one config by ID, name or unique beginning of an ID.
func (c *Control) Config(ref string) (swarm.Config, error) {
	o, err := store.Configs.Find(c.Store.View(), ref)
	if err != nil {
		return swarm.Config{}, err
	}
	return o.Config, nil
}

// CreateConfig stores a config and returns its ID. ErrAlreadyExists when the name is taken.
func (c *Control) CreateConfig(ctx context.Context, spec swarm.ConfigSpec) (string, error) {
	if err := checkBlobName(spec.Name); err != nil {
		return "", err
	}
	if err := configs.checkData(spec.Data); err != nil {
		return "", err
	}
	if err := checkTemplating(spec.Templating); err != nil {
		return "", err
	}
	o := &cluster.Config{}
	o.Spec = spec
	return configs.create(ctx, c, o)
}

// UpdateConfig replaces a config's labels; anything else in spec must be as stored.
func (c *Control) UpdateConfig(ctx context.Context, ref string, version uint64, spec swarm.ConfigSpec) error {
	return configs.update(ctx, c, ref, version, spec.Annotations, spec.Data)
}

// RemoveConfig deletes a config that no service uses.
func (c *Control) RemoveConfig(ctx context.Context, ref string) error {
	return configs.remove(ctx, c, ref)
}

// RotateConfig gives the config of that name new data; see [Rotation].
func (c *Control) RotateConfig(ctx context.Context, ref string, data []byte) (Rotation, error) {
	return configs.rotate(ctx, c, ref, data)
}
