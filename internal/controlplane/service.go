package controlplane

import (
	"context"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/schedule"
	"shoal/internal/store"
)

// nameTries bounds the search for a free generated name.
const nameTries = 100

// CreateService stores a new service and returns its ID once that is committed; its tasks follow in the leader's next
// pass. It takes over spec and writes defaults and network IDs into it. An empty name gets a generated one. Refusals
// are ErrInvalidArgument, ErrNotFound (a network), ErrAlreadyExists (the name) or ErrFailedPrecondition, with Docker's
// sentences, and store nothing.
func (c *Control) CreateService(ctx context.Context, spec swarm.ServiceSpec, registryAuth string) (swarm.ServiceCreateResponse, error) {
	normalizeService(&spec)
	if err := checkCreate(spec); err != nil {
		return swarm.ServiceCreateResponse{}, err
	}
	id := cluster.NewID()
	err := c.update(ctx, func(tx *store.Tx) error {
		if err := nameService(tx, &spec); err != nil {
			return err
		}
		if err := checkStored(tx, &spec); err != nil {
			return err
		}
		s := &cluster.Service{}
		s.ID = id
		s.Spec = spec
		s.SpecID = intern(tx, &spec, registryAuth)
		if isJob(&spec.Mode) {
			s.JobStatus = &swarm.JobStatus{LastExecution: tx.Now()}
		}
		if err := allocateService(tx, s); err != nil {
			return err
		}
		store.Services.Put(tx, s)
		return nil
	})
	if err != nil {
		return swarm.ServiceCreateResponse{}, err
	}
	return swarm.ServiceCreateResponse{ID: id, Warnings: []string{}}, nil
}

// checkCreate checks a new service's spec by itself. A missing name is no fault here.
func checkCreate(spec swarm.ServiceSpec) error {
	if spec.Name == "" {
		spec.Name = "unnamed"
	}
	return checkService(&spec)
}

// nameService gives an unnamed service a free name, and refuses a name that is taken.
func nameService(r store.Reader, spec *swarm.ServiceSpec) error {
	if spec.Name != "" {
		if serviceNamed(r, spec.Name) != nil {
			return cluster.Errorf(errdefs.ErrAlreadyExists, "name conflicts with an existing object: service %s already exists", spec.Name)
		}
		return nil
	}
	for try := range nameTries {
		if name := randomName(try); serviceNamed(r, name) == nil {
			spec.Name = name
			return nil
		}
	}
	spec.Name = cluster.NewID()
	return nil
}

func serviceNamed(r store.Reader, name string) *cluster.Service {
	for s := range store.Services.By(r, store.ServiceName, name) {
		return s
	}
	return nil
}

// checkStored checks that what a spec refers to is stored, and writes network IDs into it. Whether its ports are free is
// told when they are allocated.
func checkStored(r store.Reader, spec *swarm.ServiceSpec) error {
	if err := resolve(r, spec); err != nil {
		return err
	}
	return checkIngress(r, spec)
}

func checkConstraints(exprs []string) error {
	_, err := schedule.ParseConstraints(exprs)
	return err
}

// RemoveService deletes a service; its tasks end in the leader's next passes. ErrNotFound when there is none.
func (c *Control) RemoveService(ctx context.Context, ref string) error {
	return c.update(ctx, func(tx *store.Tx) error {
		s, err := store.Services.Find(tx, ref)
		if err != nil {
			return err
		}
		store.Services.Delete(tx, s.ID)
		DropUnusedSpec(tx, s.SpecID)
		DropUnusedSpec(tx, s.PreviousSpecID)
		return nil
	})
}
