package controlplane

import (
	"context"
	"reflect"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// ServiceUpdate is how a service is to be updated beside its new spec.
type ServiceUpdate struct {
	Version      uint64 // the service's version that the new spec is based on
	RegistryAuth string // replaces the stored one; empty: keep the one that AuthFrom names
	AuthFrom     swarm.RegistryAuthSource
	Rollback     string // "previous": the spec is ignored, and the service gets its PreviousSpec back
}

// UpdateService gives a service a new spec. It takes over spec as CreateService does. store.ErrSequence when the
// service has changed since Version, ErrNotImplemented for another name or mode; else it refuses as CreateService does.
// A spec that says what the stored one says writes nothing, unless it resumes a paused update or runs a job again.
func (c *Control) UpdateService(ctx context.Context, ref string, spec swarm.ServiceSpec, how ServiceUpdate) (swarm.ServiceUpdateResponse, error) {
	resp := swarm.ServiceUpdateResponse{Warnings: []string{}}
	if err := how.check(); err != nil {
		return resp, err
	}
	if how.Rollback == "" {
		normalizeService(&spec)
		if err := checkCreate(spec); err != nil {
			return resp, err
		}
	}
	return resp, c.update(ctx, func(tx *store.Tx) error {
		old, err := store.Services.Find(tx, ref)
		if err != nil {
			return err
		}
		if err := store.CheckVersion(old.Version.Index, how.Version); err != nil {
			return err
		}
		if how.Rollback == "" {
			if err := sameService(&old.Spec, &spec); err != nil {
				return err
			}
			if err := checkStored(tx, &spec); err != nil {
				return err
			}
		}
		s := new(*old)
		if err := how.apply(tx, s, spec); err != nil {
			return err
		}
		if how.Rollback != "" { // what the old spec needs may be gone since
			if err := checkStored(tx, &s.Spec); err != nil {
				return err
			}
		}
		if how.Rollback == "" && settled(old) && s.SpecID == old.SpecID && reflect.DeepEqual(old.Spec, s.Spec) {
			return nil // the registry auth may still have been renewed
		}
		if err := allocateService(tx, s); err != nil {
			return err
		}
		store.Services.Put(tx, s)
		DropUnusedSpec(tx, old.SpecID)
		DropUnusedSpec(tx, old.PreviousSpecID)
		return nil
	})
}

func (u *ServiceUpdate) check() error {
	switch u.Rollback {
	case "", "previous":
	case "none": // docker/cli says so with every update that is no rollback
		u.Rollback = ""
	default:
		return invalid("invalid rollback value: %q", u.Rollback)
	}
	switch u.AuthFrom {
	case "", swarm.RegistryAuthFromSpec, swarm.RegistryAuthFromPreviousSpec:
		return nil
	}
	return invalid("unsupported registryAuthFrom value")
}

// sameService refuses what an update may not change.
func sameService(old, spec *swarm.ServiceSpec) error {
	if modeName(&old.Mode) != modeName(&spec.Mode) {
		return cluster.Errorf(errdefs.ErrNotImplemented, "service mode change is not allowed")
	}
	if old.Name != spec.Name {
		return cluster.Errorf(errdefs.ErrNotImplemented, "renaming services is not supported")
	}
	return nil
}

// settled says that an update to the same spec would change nothing: no update is paused, and the service is no job,
// which an update runs again.
func settled(s *cluster.Service) bool {
	if isJob(&s.Spec.Mode) {
		return false
	}
	if s.UpdateStatus == nil {
		return true
	}
	switch s.UpdateStatus.State {
	case swarm.UpdateStatePaused, swarm.UpdateStateRollbackPaused, swarm.UpdateStateRollbackStarted:
		return false
	}
	return true
}

// apply writes the update into s, a copy of the stored service, and interns its spec.
func (u *ServiceUpdate) apply(tx *store.Tx, s *cluster.Service, spec swarm.ServiceSpec) error {
	oldSpec, oldID := s.Spec, s.SpecID
	if s.JobStatus != nil {
		s.JobStatus = &swarm.JobStatus{JobIteration: swarm.Version{Index: s.JobStatus.JobIteration.Index + 1}, LastExecution: tx.Now()}
	}
	if u.Rollback != "" {
		if s.PreviousSpec == nil {
			return cluster.Errorf(errdefs.ErrFailedPrecondition, "service %s does not have a previous spec", s.ID)
		}
		spec = *s.PreviousSpec
		s.UpdateStatus = &swarm.UpdateStatus{
			State: swarm.UpdateStateRollbackStarted, Message: "manually requested rollback", StartedAt: new(tx.Now()),
		}
	} else {
		if isJob(&spec.Mode) {
			newest(tx, &spec)
		}
		force(tx, s, &spec)
		s.UpdateStatus = nil // the leader's pass starts the update anew
	}
	auth, err := u.auth(tx, s)
	if err != nil {
		return err
	}
	s.Spec = spec
	s.SpecID = intern(tx, &s.Spec, auth)
	s.PreviousSpec, s.PreviousSpecID = &oldSpec, oldID
	return nil
}

// force makes an update that counts ForceUpdate up reach every task: the client counts from the present spec, and after a
// rollback that may give the very spec that some tasks already have, or have failed with.
func force(r store.Reader, s *cluster.Service, spec *swarm.ServiceSpec) {
	if spec.TaskTemplate.ForceUpdate <= s.Spec.TaskTemplate.ForceUpdate {
		return
	}
	for t := range store.Tasks.By(r, store.TaskService, s.ID) {
		if had := store.Specs.Get(r, t.SpecID); had != nil && had.Task.ForceUpdate >= spec.TaskTemplate.ForceUpdate {
			spec.TaskTemplate.ForceUpdate = had.Task.ForceUpdate + 1
		}
	}
}

// auth is the registry auth that the new spec shall have. An unchanged template keeps its own by itself.
func (u *ServiceUpdate) auth(r store.Reader, s *cluster.Service) (string, error) {
	if u.RegistryAuth != "" {
		return u.RegistryAuth, nil
	}
	from := s.SpecID
	if u.AuthFrom == swarm.RegistryAuthFromPreviousSpec || u.Rollback != "" {
		if s.PreviousSpec == nil {
			return "", cluster.Errorf(errdefs.ErrFailedPrecondition, "service %s does not have a previous spec", s.ID)
		}
		from = s.PreviousSpecID
	}
	if have := store.Specs.Get(r, from); have != nil {
		return have.RegistryAuth, nil
	}
	return "", nil
}
