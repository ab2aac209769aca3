package engine

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// Labels of task containers, which tools look for.
const (
	labelTask        = "com.docker.swarm.task"
	labelTaskID      = "com.docker.swarm.task.id"
	labelTaskName    = "com.docker.swarm.task.name"
	labelNodeID      = "com.docker.swarm.node.id"
	labelServiceID   = "com.docker.swarm.service.id"
	labelServiceName = "com.docker.swarm.service.name"
)

// FromTask says what container an assignment asks for. It is pure. ErrInvalidArgument: a template or a value in it
// does not work.
func FromTask(a cluster.Assignment, hostname string) (*container.Config, *container.HostConfig, error) {
	spec := a.Spec.ContainerSpec
	if spec == nil {
		return nil, nil, cluster.Errorf(errdefs.ErrInvalidArgument, "task %s has no container: runtime %q is not supported", a.Task.ID, a.Spec.Runtime)
	}
	t := newTemplates(a, hostname)
	c := &container.Config{
		Hostname: t.expand(spec.Hostname), User: spec.User, Tty: spec.TTY, OpenStdin: spec.OpenStdin,
		Entrypoint: spec.Command, Cmd: spec.Args, Image: spec.Image, WorkingDir: spec.Dir, Healthcheck: spec.Healthcheck,
		StopSignal: spec.StopSignal, Labels: taskLabels(a), Volumes: map[string]struct{}{},
	}
	c.Env = genericEnv(a.Task.Generic)
	for _, v := range spec.Env {
		c.Env = append(c.Env, t.expand(v))
	}
	if spec.StopGracePeriod != nil {
		s := int(math.Ceil(spec.StopGracePeriod.Seconds()))
		c.StopTimeout = &s
	}
	h := &container.HostConfig{
		ReadonlyRootfs: spec.ReadOnly, GroupAdd: spec.Groups, Init: spec.Init, Isolation: spec.Isolation,
		Sysctls: spec.Sysctls, CapAdd: spec.CapabilityAdd, CapDrop: spec.CapabilityDrop, OomScoreAdj: int(spec.OomScoreAdj),
		RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyDisabled},
		Resources:     taskResources(a.Spec.Resources, spec.Ulimits),
		SecurityOpt:   taskPrivileges(spec.Privileges),
	}
	for _, m := range spec.Mounts {
		m.Source, m.Target = t.expand(m.Source), t.expand(m.Target)
		if m.VolumeOptions != nil {
			o := *m.VolumeOptions
			o.Labels = union(t.expandValues(o.Labels), map[string]string{labelServiceID: a.Task.ServiceID})
			if o.DriverConfig != nil {
				o.DriverConfig = &mount.Driver{Name: o.DriverConfig.Name, Options: t.expandValues(o.DriverConfig.Options)}
			}
			m.VolumeOptions = &o
		}
		if m.Type == mount.TypeTmpfs || m.Type == mount.TypeBind || m.Type == mount.TypeVolume {
			h.Mounts = append(h.Mounts, m)
			continue
		}
		return nil, nil, cluster.Errorf(errdefs.ErrInvalidArgument, "invalid mount config for type %q: mount type not supported", m.Type)
	}
	if d := spec.DNSConfig; d != nil {
		h.DNS, h.DNSSearch, h.DNSOptions = d.Nameservers, d.Search, d.Options
	}
	hosts, err := taskHosts(spec.Hosts)
	if err != nil {
		return nil, nil, err
	}
	h.ExtraHosts = hosts
	if d := a.Spec.LogDriver; d != nil {
		h.LogConfig = container.LogConfig{Type: d.Name, Config: maps.Clone(d.Options)}
	}
	return c, h, t.err
}

// genericEnv tells a container which generic resources it was given, under Docker's names: the names or the number of
// each kind.
func genericEnv(given []swarm.GenericResource) []string {
	values := map[string][]string{}
	for _, g := range given {
		switch {
		case g.NamedResourceSpec != nil:
			values[g.NamedResourceSpec.Kind] = append(values[g.NamedResourceSpec.Kind], g.NamedResourceSpec.Value)
		case g.DiscreteResourceSpec != nil:
			values[g.DiscreteResourceSpec.Kind] = append(values[g.DiscreteResourceSpec.Kind], strconv.FormatInt(g.DiscreteResourceSpec.Value, 10))
		}
	}
	var env []string
	for _, kind := range slices.Sorted(maps.Keys(values)) {
		env = append(env, "DOCKER_RESOURCE_"+strings.ToUpper(kind)+"="+strings.Join(values[kind], ","))
	}
	return env
}

// defaultGrace is how long a container has to end after its stop signal.
const defaultGrace = 10 * time.Second

func taskLabels(a cluster.Assignment) map[string]string {
	return union(a.Spec.ContainerSpec.Labels, map[string]string{
		labelTask: "", labelTaskID: a.Task.ID, labelTaskName: a.Task.Name(), labelNodeID: a.Task.NodeID,
		labelServiceID: a.Task.ServiceID, labelServiceName: a.Task.ServiceName,
	})
}

func taskResources(r *swarm.ResourceRequirements, ulimits []*container.Ulimit) container.Resources {
	out := container.Resources{Ulimits: ulimits}
	if r == nil {
		return out
	}
	if l := r.Limits; l != nil {
		out.NanoCPUs, out.Memory = l.NanoCPUs, l.MemoryBytes
		if l.Pids > 0 {
			out.PidsLimit = &l.Pids
		}
	}
	if v := r.Reservations; v != nil {
		out.MemoryReservation = v.MemoryBytes
	}
	out.MemorySwappiness = r.MemorySwappiness
	if s := r.SwapBytes; s != nil {
		out.MemorySwap = *s
		if *s >= 0 {
			out.MemorySwap = out.Memory + *s
		}
	}
	return out
}

func taskPrivileges(p *swarm.Privileges) []string {
	if p == nil {
		return nil
	}
	var opts []string
	if p.NoNewPrivileges {
		opts = append(opts, "no-new-privileges=true")
	}
	if s := p.Seccomp; s != nil {
		switch s.Mode {
		case swarm.SeccompModeUnconfined:
			opts = append(opts, "seccomp=unconfined")
		case swarm.SeccompModeCustom:
			opts = append(opts, "seccomp="+string(s.Profile))
		}
	}
	if p.AppArmor != nil && p.AppArmor.Mode == swarm.AppArmorModeDisabled {
		opts = append(opts, "apparmor=unconfined")
	}
	return opts
}

// taskHosts turns lines of hosts(5), "address name alias…", into "name:address".
func taskHosts(lines []string) ([]string, error) {
	var out []string
	for _, l := range lines {
		f := strings.Fields(l)
		if len(f) < 2 {
			return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "invalid host entry: %q", l)
		}
		if _, err := netip.ParseAddr(f[0]); err != nil && f[0] != "host-gateway" {
			return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "invalid host entry: %q: %q is no address", l, f[0])
		}
		for _, name := range f[1:] {
			out = append(out, name+":"+f[0])
		}
	}
	return out, nil
}

// taskSlot is the slot as templates show it: the node's ID for tasks of global services.
func taskSlot(t cluster.Task) string {
	if t.Slot > 0 {
		return strconv.Itoa(t.Slot)
	}
	return t.NodeID
}

// predefined are the networks that a node has of its own, in the order in which one wins over the next.
var predefined = []string{"host", "none", "bridge"}

// taskNetworks splits a task's networks: the node's own by name, and the swarm's. A task without any is on the bridge.
func taskNetworks(t cluster.Task) (own string, overlays []cluster.Attachment) {
	for _, a := range t.Attachments {
		if slices.Contains(predefined, a.NetworkID) {
			if own == "" {
				own = a.NetworkID
			}
			continue
		}
		overlays = append(overlays, a)
	}
	if own == "" && len(overlays) == 0 {
		own = "bridge"
	}
	return own, overlays
}

// errTemplate says which template failed.
func errTemplate(text string, err error) error {
	return cluster.Errorf(errdefs.ErrInvalidArgument, "expanding template %q: %s", text, fmt.Sprint(err))
}
