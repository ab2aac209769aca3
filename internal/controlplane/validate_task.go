package controlplane

import (
	"math"
	"path"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// Least amounts that a task may ask for, as Docker has them.
const (
	minNanoCPUs = 1e6 // 0.001 CPU
	minMemory   = 4 << 20
)

func checkTask(t *swarm.TaskSpec) error {
	switch {
	case t.ContainerSpec != nil && t.PluginSpec != nil:
		return invalid("must not specify both a container spec and a plugin spec in the task template")
	case t.Runtime == swarm.RuntimeNetworkAttachment || t.NetworkAttachmentSpec != nil:
		return invalid("invalid task spec: spec type %q not supported", swarm.RuntimeNetworkAttachment)
	case t.Runtime == swarm.RuntimePlugin || t.PluginSpec != nil:
		return cluster.Errorf(errdefs.ErrNotImplemented, "services of plugins are not supported: use a container image")
	case t.Runtime != swarm.RuntimeContainer:
		return invalid("unsupported runtime type: %q", t.Runtime)
	case t.ContainerSpec == nil:
		return invalid("TaskSpec: missing runtime")
	}
	if err := checkResources(t.Resources); err != nil {
		return err
	}
	if err := checkRestart(t.RestartPolicy); err != nil {
		return err
	}
	if err := checkPlacement(t.Placement); err != nil {
		return err
	}
	return checkContainer(t.ContainerSpec)
}

func checkResources(r *swarm.ResourceRequirements) error {
	if r == nil {
		return nil
	}
	if l := r.Limits; l != nil {
		if err := checkAmounts(l.NanoCPUs, l.MemoryBytes); err != nil {
			return err
		}
		if l.Pids < 0 {
			return invalid("invalid pids limit %d: must not be negative", l.Pids)
		}
	}
	if v := r.Reservations; v != nil {
		if err := checkAmounts(v.NanoCPUs, v.MemoryBytes); err != nil {
			return err
		}
		for _, g := range v.GenericResources {
			switch {
			case g.NamedResourceSpec != nil:
				return invalid("invalid argument for resource %s", g.NamedResourceSpec.Kind)
			case g.DiscreteResourceSpec == nil || g.DiscreteResourceSpec.Kind == "" || g.DiscreteResourceSpec.Value < 0:
				return invalid("invalid generic resource: a kind and a count are needed")
			}
		}
	}
	switch {
	case r.SwapBytes != nil && *r.SwapBytes < -1:
		return invalid("invalid swap value %d: must be -1 (unlimited) or more", *r.SwapBytes)
	case r.SwapBytes != nil && *r.SwapBytes != 0 && (r.Limits == nil || r.Limits.MemoryBytes == 0):
		return invalid("memory swap limit can only be used together with a memory limit")
	case r.MemorySwappiness != nil && (*r.MemorySwappiness < -1 || *r.MemorySwappiness > 100):
		return invalid("invalid memory swappiness %d: must be between 0 and 100, or -1 to unset", *r.MemorySwappiness)
	}
	return nil
}

func checkAmounts(nanoCPUs, memory int64) error {
	if nanoCPUs != 0 && nanoCPUs < minNanoCPUs {
		return invalid("invalid cpu value %g: Must be at least %g", float64(nanoCPUs)/1e9, minNanoCPUs/1e9)
	}
	if memory != 0 && memory < minMemory {
		return invalid("invalid memory value %d: Must be at least 4MiB", memory)
	}
	return nil
}

func checkRestart(p *swarm.RestartPolicy) error {
	if p == nil {
		return nil
	}
	switch p.Condition {
	case "", swarm.RestartPolicyConditionNone, swarm.RestartPolicyConditionOnFailure, swarm.RestartPolicyConditionAny:
	default:
		return invalid("invalid RestartCondition: %q", p.Condition)
	}
	switch {
	case p.Delay != nil && *p.Delay < 0:
		return invalid("TaskSpec: restart-delay cannot be negative")
	case p.Window != nil && *p.Window < 0:
		return invalid("TaskSpec: restart-window cannot be negative")
	case p.MaxAttempts != nil && *p.MaxAttempts > math.MaxInt64:
		return invalid("TaskSpec: restart-max-attempts cannot be negative")
	}
	return nil
}

func checkPlacement(p *swarm.Placement) error {
	if p == nil {
		return nil
	}
	if err := checkConstraints(p.Constraints); err != nil {
		return err
	}
	for _, pref := range p.Preferences {
		if pref.Spread == nil || pref.Spread.SpreadDescriptor == "" {
			return invalid("invalid placement preference: only spread=<label> is known")
		}
	}
	return nil
}

func checkContainer(c *swarm.ContainerSpec) error {
	if c.Image == "" {
		return invalid("ContainerSpec: image reference must be provided")
	}
	if _, err := reference.ParseNormalizedNamed(c.Image); err != nil {
		return invalid("ContainerSpec: %q is not a valid repository/tag", c.Image)
	}
	if err := checkMounts(c.Mounts); err != nil {
		return err
	}
	if err := checkHealth(c.Healthcheck); err != nil {
		return err
	}
	if c.StopGracePeriod != nil && *c.StopGracePeriod < 0 {
		return invalid("ContainerSpec: stop-grace-period cannot be negative")
	}
	if err := checkSecretRefs(c.Secrets); err != nil {
		return err
	}
	return checkConfigRefs(c)
}

// checkMounts refuses what no node could mount. Sources may hold templates, which only the node can fill in.
func checkMounts(mounts []mount.Mount) error {
	seen := make(map[string]bool, len(mounts))
	for _, m := range mounts {
		if m.Target == "" {
			return invalid("invalid mount target, must not be empty")
		}
		if !path.IsAbs(m.Target) && !strings.HasPrefix(m.Target, "{{") {
			return invalid("invalid mount target, must be an absolute path: %s", m.Target)
		}
		if target := path.Clean(m.Target); target == "/" {
			return invalid("invalid mount target: destination can't be '/'")
		} else if seen[target] {
			return invalid("ContainerSpec: duplicate mount point: %s", m.Target)
		} else {
			seen[target] = true
		}
		if err := checkMountSource(m); err != nil {
			return err
		}
	}
	return nil
}

func checkMountSource(m mount.Mount) error {
	template := strings.HasPrefix(m.Source, "{{")
	switch m.Type {
	case mount.TypeBind:
		if m.Source == "" {
			return invalid("invalid bind mount source, source must not be empty")
		}
		if !path.IsAbs(m.Source) && !template {
			return invalid("invalid bind mount source, must be an absolute path: %s", m.Source)
		}
	case mount.TypeVolume:
		if path.IsAbs(m.Source) {
			return invalid("invalid volume mount source, must not be an absolute path: %s", m.Source)
		}
	case mount.TypeTmpfs:
		if m.Source != "" {
			return invalid("invalid tmpfs source, source must be empty")
		}
		if m.TmpfsOptions != nil && m.TmpfsOptions.SizeBytes < 0 {
			return invalid("invalid tmpfs size %d: must not be negative", m.TmpfsOptions.SizeBytes)
		}
	case mount.TypeCluster:
		return cluster.Errorf(errdefs.ErrNotImplemented, "cluster volumes are not supported: mount a volume of the node")
	default:
		return invalid("invalid mount type: %s", m.Type)
	}
	return nil
}

func checkHealth(h *container.HealthConfig) error {
	if h == nil {
		return nil
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"Interval", h.Interval}, {"Timeout", h.Timeout}, {"StartPeriod", h.StartPeriod}, {"StartInterval", h.StartInterval}} {
		if d.value != 0 && d.value < container.MinimumDuration {
			return invalid("ContainerSpec: %s in HealthConfig cannot be less than %s", d.name, container.MinimumDuration)
		}
	}
	if h.Retries < 0 {
		return invalid("ContainerSpec: Retries in HealthConfig cannot be negative")
	}
	return nil
}

// checkSecretRefs refuses references without an ID, name or target, and two files at one place.
func checkSecretRefs(refs []*swarm.SecretReference) error {
	at := make(map[string]string, len(refs))
	for _, ref := range refs {
		if ref == nil || ref.SecretID == "" || ref.SecretName == "" {
			return invalid("malformed secret reference")
		}
		if ref.File == nil {
			return invalid("malformed secret reference, no target provided")
		}
		if ref.File.Name == "" {
			return invalid("malformed file secret reference, invalid target file name provided")
		}
		if other, taken := at[ref.File.Name]; taken {
			return invalid("secret references '%s' and '%s' have a conflicting target: '%s'", other, ref.SecretName, ref.File.Name)
		}
		at[ref.File.Name] = ref.SecretName
	}
	return nil
}

func checkConfigRefs(c *swarm.ContainerSpec) error {
	at := make(map[string]string, len(c.Configs))
	for _, ref := range c.Configs {
		if ref == nil || ref.ConfigID == "" || ref.ConfigName == "" {
			return invalid("malformed config reference")
		}
		if ref.File == nil && ref.Runtime == nil {
			return invalid("malformed config reference, no target provided")
		}
		if ref.File == nil {
			continue
		}
		if ref.File.Name == "" {
			return invalid("malformed file config reference, invalid target file name provided")
		}
		if other, taken := at[ref.File.Name]; taken {
			return invalid("config references '%s' and '%s' have a conflicting target: '%s'", other, ref.ConfigName, ref.File.Name)
		}
		at[ref.File.Name] = ref.ConfigName
	}
	return nil
}
