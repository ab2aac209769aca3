package controlplane

import (
	"bytes"
	"context"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// blob is what secrets and configs have in common: named bytes that never change once stored, and that no service may
// lose while it uses them.
type blob[T any] struct {
	noun  string
	table *store.Table[T]
	name  *store.Index[T]
	users *store.Index[cluster.Service]
	parts func(*T) (id *string, meta *swarm.Meta, a *swarm.Annotations, data *[]byte)
	line  func(*T) *cluster.Lineage
	// most is the size in bytes that the data must stay below.
	most int
	// repoint changes the references of a container spec to objects of these IDs, by the given name, to another ID.
	repoint func(c *swarm.ContainerSpec, from map[string]bool, name, to string)
	// named are the IDs that a container spec refers to.
	named func(c *swarm.ContainerSpec) []string
}

var secrets = blob[cluster.Secret]{
	noun: "secret", table: store.Secrets, name: store.SecretName, users: store.ServiceSecret,
	parts: func(s *cluster.Secret) (*string, *swarm.Meta, *swarm.Annotations, *[]byte) {
		return &s.ID, &s.Meta, &s.Spec.Annotations, &s.Spec.Data
	},
	line: func(s *cluster.Secret) *cluster.Lineage { return &s.Lineage },
	most: maxSecretBytes, repoint: repointSecrets, named: secretIDs,
}

var configs = blob[cluster.Config]{
	noun: "config", table: store.Configs, name: store.ConfigName, users: store.ServiceConfig,
	parts: func(c *cluster.Config) (*string, *swarm.Meta, *swarm.Annotations, *[]byte) {
		return &c.ID, &c.Meta, &c.Spec.Annotations, &c.Spec.Data
	},
	line: func(c *cluster.Config) *cluster.Lineage { return &c.Lineage },
	most: maxConfigBytes, repoint: repointConfigs, named: configIDs,
}

// checkData holds data to the limit of its kind.
func (b *blob[T]) checkData(data []byte) error {
	if n := len(data); n == 0 || n >= b.most {
		return invalid("%s data must be larger than 0 and less than %d bytes", b.noun, b.most)
	}
	return nil
}

// create stores o under a new ID, which it returns.
func (b *blob[T]) create(ctx context.Context, c *Control, o *T) (string, error) {
	id, _, a, _ := b.parts(o)
	*id = cluster.NewID()
	if a.Labels == nil {
		a.Labels = map[string]string{}
	}
	err := c.update(ctx, func(tx *store.Tx) error {
		for range b.table.By(tx, b.name, a.Name) {
			return cluster.Errorf(errdefs.ErrAlreadyExists, "%s %s already exists", b.noun, a.Name)
		}
		b.table.Put(tx, o)
		return nil
	})
	return *id, err
}

// list returns those that the filter lets through.
func (b *blob[T]) list(c *Control, f Filters) []*T {
	var found []*T
	for o := range b.table.All(c.Store.View()) {
		id, _, a, _ := b.parts(o)
		if f.Prefix("id", *id) && f.Prefix("name", a.Name) && f.Exact("names", a.Name) && f.Labels("label", a.Labels) {
			found = append(found, o)
		}
	}
	return found
}

// update replaces the labels, which alone may change. data is nil when the client sent none.
func (b *blob[T]) update(ctx context.Context, c *Control, ref string, version uint64, want swarm.Annotations, data []byte) error {
	return c.update(ctx, func(tx *store.Tx) error {
		old, err := b.table.Find(tx, ref)
		if err != nil {
			return err
		}
		_, meta, a, stored := b.parts(old)
		if err := store.CheckVersion(meta.Version.Index, version); err != nil {
			return err
		}
		if want.Name != a.Name || data != nil && !bytes.Equal(data, *stored) {
			return invalid("only updates to Labels are allowed")
		}
		o := new(*old)
		_, _, a, _ = b.parts(o)
		if a.Labels = want.Labels; a.Labels == nil {
			a.Labels = map[string]string{}
		}
		b.table.Put(tx, o)
		return nil
	})
}

// remove deletes one that no service uses.
func (b *blob[T]) remove(ctx context.Context, c *Control, ref string) error {
	return c.update(ctx, func(tx *store.Tx) error {
		o, err := b.table.Find(tx, ref)
		if err != nil {
			return err
		}
		id, _, a, _ := b.parts(o)
		var users []string
		for s := range store.Services.By(tx, b.users, *id) {
			users = append(users, s.Spec.Name)
		}
		if len(users) > 0 {
			services := "service"
			if len(users) > 1 {
				services = "services"
			}
			return invalid("%s '%s' is in use by the following %s: %s", b.noun, a.Name, services, strings.Join(users, ", "))
		}
		b.table.Delete(tx, *id)
		return nil
	})
}

// checkTemplating allows the one template driver that nodes have.
func checkTemplating(d *swarm.Driver) error {
	if d == nil || d.Name == "golang" {
		return nil
	}
	return invalid("template driver %q is not supported: use golang", d.Name)
}
