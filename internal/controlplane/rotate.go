package controlplane

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// Rotation is what a rotation of a secret or config did, all in one transaction: a new generation took over the name
// (the one before is now NAME.vN), and the services that use the name were updated to it, so that each rolls by its own
// update policy. A rollback of such a service leads back to the generation before, which stays for as long as a service
// or its previous spec names it or a task that has not ended was made with it.
//
// Data that the newest generation has already makes no new one; services on an older one move all the same, so that a
// rotation may be asked for twice. Jobs are not run again: their next run takes the newest generation. A service that
// refers to an older generation by that one's own name (NAME.vN) keeps it.
type Rotation struct {
	ID         string   // of the newest generation
	Generation int      // its number, counted from 1
	Services   []string // the names of the services that move to it
}

// rotate makes the newest generation of what ref names. ErrNotFound: there is none; ErrInvalidArgument: too much data or
// none, or ref is an older generation.
func (b *blob[T]) rotate(ctx context.Context, c *Control, ref string, data []byte) (Rotation, error) {
	if err := b.checkData(data); err != nil {
		return Rotation{}, err
	}
	fresh := cluster.NewID()
	done := Rotation{Services: []string{}}
	return done, c.update(ctx, func(tx *store.Tx) error {
		old, err := b.table.Find(tx, ref)
		if err != nil {
			return err
		}
		id, _, a, stored := b.parts(old)
		if was := b.line(old).Superseded; was != "" {
			return invalid("%s %s is an earlier generation of %s: rotate %s", b.noun, a.Name, was, was)
		}
		done.ID, done.Generation = *id, max(1, b.line(old).Generation)
		if !bytes.Equal(*stored, data) {
			done.ID, done.Generation = fresh, b.supersede(tx, old, fresh, data)
		}
		done.Services, err = b.move(tx, a.Name, done.ID)
		return err
	})
}

// supersede stores the next generation of old under its name, and old under the name of its own generation. It returns
// the new one's number.
func (b *blob[T]) supersede(tx *store.Tx, old *T, id string, data []byte) int {
	before, next := new(*old), new(*old)
	_, _, a, _ := b.parts(before)
	name, generation := a.Name, max(1, b.line(old).Generation)
	for {
		a.Name = generationName(name, generation)
		if !b.taken(tx, a.Name) {
			break
		}
		generation++ // left from a secret of that name that is gone, or somebody's own
	}
	*b.line(before) = cluster.Lineage{Generation: generation, Superseded: name}
	b.table.Put(tx, before)

	nextID, meta, annotations, nextData := b.parts(next)
	*nextID, *meta, *nextData = id, swarm.Meta{}, data
	annotations.Labels = maps.Clone(annotations.Labels)
	*b.line(next) = cluster.Lineage{Generation: generation + 1}
	b.table.Put(tx, next)
	return generation + 1
}

// generationName is the name of an earlier generation, within the bounds of names.
func generationName(name string, generation int) string {
	suffix := fmt.Sprintf(".v%d", generation)
	return name[:min(len(name), maxBlobName-len(suffix))] + suffix
}

func (b *blob[T]) taken(r store.Reader, name string) bool {
	for range b.table.By(r, b.name, name) {
		return true
	}
	return false
}

// move updates every service that uses a generation of name other than id to that one, and returns their names.
func (b *blob[T]) move(tx *store.Tx, name, id string) ([]string, error) {
	from := map[string]bool{}
	for o := range b.table.All(tx) {
		if oid, _, _, _ := b.parts(o); *oid != id && b.line(o).Superseded == name {
			from[*oid] = true
		}
	}
	users := map[string]*cluster.Service{}
	for old := range from {
		for s := range store.Services.By(tx, b.users, old) {
			users[s.ID] = s
		}
	}
	moved := []string{}
	for _, sid := range slices.Sorted(maps.Keys(users)) {
		old := users[sid]
		if isJob(&old.Spec.Mode) {
			continue
		}
		spec := b.repointed(&old.Spec, from, name, id)
		if SpecID(&spec.TaskTemplate, nil) == SpecID(&old.Spec.TaskTemplate, nil) {
			continue // it names the older generation by that one's own name
		}
		s := new(*old)
		if err := (&ServiceUpdate{}).apply(tx, s, spec); err != nil {
			return nil, err
		}
		store.Services.Put(tx, s)
		DropUnusedSpec(tx, old.PreviousSpecID)
		moved = append(moved, s.Spec.Name)
	}
	slices.Sort(moved)
	return moved, nil
}

// repointed is spec with the references to the objects from, by name, leading to id.
func (b *blob[T]) repointed(spec *swarm.ServiceSpec, from map[string]bool, name, id string) swarm.ServiceSpec {
	out := *spec
	c := new(*spec.TaskTemplate.ContainerSpec)
	b.repoint(c, from, name, id)
	out.TaskTemplate.ContainerSpec = c
	return out
}

func repointSecrets(c *swarm.ContainerSpec, from map[string]bool, name, to string) {
	c.Secrets = slices.Clone(c.Secrets)
	for i, ref := range c.Secrets {
		if ref != nil && from[ref.SecretID] && ref.SecretName == name {
			c.Secrets[i] = new(*ref)
			c.Secrets[i].SecretID = to
		}
	}
}

func repointConfigs(c *swarm.ContainerSpec, from map[string]bool, name, to string) {
	c.Configs = slices.Clone(c.Configs)
	moved := map[string]bool{}
	for i, ref := range c.Configs {
		if ref != nil && from[ref.ConfigID] && ref.ConfigName == name {
			moved[ref.ConfigID] = true
			c.Configs[i] = new(*ref)
			c.Configs[i].ConfigID = to
		}
	}
	if p := c.Privileges; p != nil && p.CredentialSpec != nil && moved[p.CredentialSpec.Config] {
		privileges, credentials := *p, *p.CredentialSpec
		credentials.Config = to
		privileges.CredentialSpec = &credentials
		c.Privileges = &privileges
	}
}

// newest leads the references of a job that is about to run again to the newest generations.
func newest(r store.Reader, spec *swarm.ServiceSpec) {
	*spec = secrets.newest(r, spec)
	*spec = configs.newest(r, spec)
}

func (b *blob[T]) newest(r store.Reader, spec *swarm.ServiceSpec) swarm.ServiceSpec {
	out := *spec
	for _, id := range b.named(spec.TaskTemplate.ContainerSpec) {
		o := b.table.Get(r, id)
		if o == nil || b.line(o).Superseded == "" {
			continue
		}
		name := b.line(o).Superseded
		for heir := range b.table.By(r, b.name, name) {
			to, _, _, _ := b.parts(heir)
			out = b.repointed(&out, map[string]bool{id: true}, name, *to)
		}
	}
	return out
}

// dropSuperseded removes the earlier generations that a spec names and nothing needs any more.
func dropSuperseded(tx *store.Tx, spec *cluster.Spec) {
	if spec == nil || spec.Task.ContainerSpec == nil {
		return
	}
	secrets.dropSuperseded(tx, spec.Task.ContainerSpec)
	configs.dropSuperseded(tx, spec.Task.ContainerSpec)
}

func (b *blob[T]) dropSuperseded(tx *store.Tx, c *swarm.ContainerSpec) {
	for _, id := range b.named(c) {
		if o := b.table.Get(tx, id); o != nil && b.line(o).Superseded != "" && !b.needed(tx, id) {
			b.table.Delete(tx, id)
		}
	}
}

// needed says whether a service's spec or previous spec, or a task that has not ended, names the object.
func (b *blob[T]) needed(r store.Reader, id string) bool {
	for range store.Services.By(r, b.users, id) {
		return true
	}
	for spec := range store.Specs.All(r) {
		if spec.Task.ContainerSpec == nil || !slices.Contains(b.named(spec.Task.ContainerSpec), id) {
			continue
		}
		for range store.Services.By(r, store.ServiceSpec, spec.ID) {
			return true
		}
		for t := range store.Tasks.By(r, store.TaskSpec, spec.ID) {
			if !cluster.Terminal(t.Status.State) {
				return true
			}
		}
	}
	return false
}

func secretIDs(c *swarm.ContainerSpec) (ids []string) {
	for _, ref := range c.Secrets {
		if ref != nil {
			ids = append(ids, ref.SecretID)
		}
	}
	return ids
}

func configIDs(c *swarm.ContainerSpec) (ids []string) {
	for _, ref := range c.Configs {
		if ref != nil {
			ids = append(ids, ref.ConfigID)
		}
	}
	return ids
}
