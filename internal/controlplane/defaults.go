package controlplane

import (
	"slices"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"
)

// Values that stand where a spec names none. The rooms that act on a spec use the same.
const (
	DefaultReplicas        uint64 = 1
	DefaultStopGrace              = 10 * time.Second
	DefaultRestartDelay           = 5 * time.Second
	DefaultMonitor                = 5 * time.Second
	DefaultParallelism     uint64 = 1
	DefaultTaskHistory     int64  = 5
	DefaultCertExpiry             = 90 * 24 * time.Hour
	DefaultHeartbeatPeriod        = 5 * time.Second
)

// normalizeService writes into a spec what Docker stores where the client left a choice open, so that two ways of
// saying the same thing are one spec. It changes what spec points to.
func normalizeService(spec *swarm.ServiceSpec) {
	if spec.Labels == nil {
		spec.Labels = map[string]string{}
	}
	normalizeMode(&spec.Mode)
	normalizeTask(&spec.TaskTemplate)
	normalizeUpdate(spec.UpdateConfig)
	normalizeUpdate(spec.RollbackConfig)
	normalizeEndpoint(spec.EndpointSpec)
}

func normalizeMode(m *swarm.ServiceMode) {
	if *m == (swarm.ServiceMode{}) {
		m.Replicated = &swarm.ReplicatedService{}
	}
	if r := m.Replicated; r != nil && r.Replicas == nil {
		r.Replicas = new(DefaultReplicas)
	}
	if j := m.ReplicatedJob; j != nil {
		if j.MaxConcurrent == nil {
			j.MaxConcurrent = new(uint64(1))
		}
		if j.TotalCompletions == nil {
			j.TotalCompletions = new(*j.MaxConcurrent)
		}
	}
}

func normalizeTask(t *swarm.TaskSpec) {
	if t.Runtime == "" {
		t.Runtime = swarm.RuntimeContainer
	}
	if p := t.RestartPolicy; p != nil && p.Condition == "" {
		p.Condition = swarm.RestartPolicyConditionAny
	}
	c := t.ContainerSpec
	if c == nil {
		return
	}
	if c.Isolation == "" {
		c.Isolation = container.IsolationDefault
	}
	for i := range c.Mounts {
		if c.Mounts[i].Type == "" {
			c.Mounts[i].Type = mount.TypeBind
		}
	}
}

func normalizeUpdate(u *swarm.UpdateConfig) {
	if u == nil {
		return
	}
	if u.FailureAction == "" {
		u.FailureAction = swarm.UpdateFailureActionPause
	}
	if u.Order == "" {
		u.Order = swarm.UpdateOrderStopFirst
	}
}

func normalizeEndpoint(e *swarm.EndpointSpec) {
	if e == nil {
		return
	}
	if e.Mode == "" {
		e.Mode = swarm.ResolutionModeVIP
	}
	for i := range e.Ports {
		p := &e.Ports[i]
		if p.Protocol == "" {
			p.Protocol = network.TCP
		}
		if p.PublishMode == "" {
			p.PublishMode = swarm.PortConfigPublishModeIngress
		}
	}
}

// hostPorts is the host-mode ports of a spec in one order: they are part of what a task is made of.
func hostPorts(spec *swarm.ServiceSpec) []swarm.PortConfig {
	if spec.EndpointSpec == nil {
		return nil
	}
	var ports []swarm.PortConfig
	for _, p := range spec.EndpointSpec.Ports {
		if p.PublishMode == swarm.PortConfigPublishModeHost {
			ports = append(ports, p)
		}
	}
	slices.SortFunc(ports, swarm.PortConfig.Compare)
	return ports
}

// withDefaults returns the spec with every default filled in, for display. It shares nothing that it changes with spec.
func withDefaults(spec swarm.ServiceSpec) swarm.ServiceSpec {
	t := &spec.TaskTemplate
	if t.ContainerSpec != nil {
		c := *t.ContainerSpec
		if c.StopGracePeriod == nil {
			c.StopGracePeriod = new(DefaultStopGrace)
		}
		if c.DNSConfig == nil {
			c.DNSConfig = &swarm.DNSConfig{}
		}
		t.ContainerSpec = &c
	}
	resources := swarm.ResourceRequirements{}
	if t.Resources != nil {
		resources = *t.Resources
	}
	if resources.Limits == nil {
		resources.Limits = &swarm.Limit{}
	}
	if resources.Reservations == nil {
		resources.Reservations = &swarm.Resources{}
	}
	t.Resources = &resources
	t.RestartPolicy = restartDefaults(t.RestartPolicy, isJob(&spec.Mode))
	if t.Placement == nil {
		t.Placement = &swarm.Placement{}
	}
	if !isJob(&spec.Mode) { // jobs have no updates
		spec.UpdateConfig = updateDefaults(spec.UpdateConfig)
		spec.RollbackConfig = updateDefaults(spec.RollbackConfig)
	}
	if spec.EndpointSpec == nil {
		spec.EndpointSpec = &swarm.EndpointSpec{Mode: swarm.ResolutionModeVIP}
	}
	return spec
}

func restartDefaults(p *swarm.RestartPolicy, job bool) *swarm.RestartPolicy {
	var full swarm.RestartPolicy
	if p != nil {
		full = *p
	}
	if full.Condition == "" {
		full.Condition = swarm.RestartPolicyConditionAny
		if job {
			full.Condition = swarm.RestartPolicyConditionOnFailure
		}
	}
	if full.Delay == nil {
		full.Delay = new(DefaultRestartDelay)
	}
	if full.MaxAttempts == nil {
		full.MaxAttempts = new(uint64(0))
	}
	return &full
}

func updateDefaults(u *swarm.UpdateConfig) *swarm.UpdateConfig {
	if u == nil {
		u = &swarm.UpdateConfig{Parallelism: DefaultParallelism}
	}
	full := *u
	normalizeUpdate(&full)
	if full.Monitor == 0 {
		full.Monitor = DefaultMonitor
	}
	return &full
}
