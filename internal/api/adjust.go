package api

import "github.com/moby/moby/api/types/swarm"

// serviceBody is a service spec as clients send it. Before 1.44 the networks could also stand at the top.
type serviceBody struct {
	swarm.ServiceSpec
	Networks []swarm.NetworkAttachmentConfig
}

// at returns the spec as a daemon of version v reads it: what came later is taken out, so that an old client that
// sends back what it was shown means what it meant then.
func (b *serviceBody) at(v version) swarm.ServiceSpec {
	spec := b.ServiceSpec
	if v < 44 && len(spec.TaskTemplate.Networks) == 0 {
		spec.TaskTemplate.Networks = b.Networks
	}
	if r := spec.TaskTemplate.Resources; r != nil {
		if v < 52 {
			r.SwapBytes, r.MemorySwappiness = nil, nil
		}
		if v < 41 && r.Limits != nil {
			r.Limits.Pids = 0
		}
	}
	if v < 41 {
		spec.Mode.ReplicatedJob, spec.Mode.GlobalJob = nil, nil
	}
	if c := spec.TaskTemplate.ContainerSpec; c != nil {
		adjustContainer(v, c)
	}
	return spec
}

func adjustContainer(v version, c *swarm.ContainerSpec) {
	if v < 46 {
		c.OomScoreAdj = 0
		for i := range c.Mounts {
			if t := c.Mounts[i].TmpfsOptions; t != nil {
				t.Options = nil
			}
		}
	}
	if v < 44 {
		if p := c.Privileges; p != nil {
			p.Seccomp, p.AppArmor, p.NoNewPrivileges = nil, nil, false
		}
		if c.Healthcheck != nil {
			c.Healthcheck.StartInterval = 0
		}
	}
	if v < 41 {
		c.CapabilityAdd, c.CapabilityDrop, c.Ulimits = nil, nil, nil
	}
}
