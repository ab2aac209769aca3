package schedule

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// filter is one reason why a node may not take a task. What it refuses, it explains.
type filter interface {
	// setTask prepares for a group of equal tasks; false: the filter has nothing to say about them.
	setTask(n *Nodes, g *Group) bool
	// check says whether node i can take t, one of the group.
	check(i int32, t *cluster.Task) bool
	// explain is Docker's sentence for so many nodes that were refused.
	explain(nodes int) string
}

// pipeline is every filter in the order in which a node is judged: it is counted under the first that refuses it.
func pipeline() []filter {
	return []filter{&ready{}, &resource{}, &plugin{}, &constraint{}, &platform{}, &hostPort{}, &maxReplicas{}}
}

// static says whether a filter's word about a node stays the same while a pass places tasks.
func static(f filter) bool {
	switch f.(type) {
	case *resource, *hostPort, *maxReplicas:
		return false
	}
	return true
}

func onNodes(what string, nodes int) string {
	if nodes == 1 {
		return what + " on 1 node"
	}
	return fmt.Sprintf("%s on %d nodes", what, nodes)
}

type ready struct{ n *Nodes }

func (f *ready) setTask(n *Nodes, _ *Group) bool { f.n = n; return true }

func (f *ready) check(i int32, _ *cluster.Task) bool {
	node := f.n.nodes[i]
	return node.Status.State == swarm.NodeStateReady &&
		(node.Spec.Availability == swarm.NodeAvailabilityActive || node.Spec.Availability == "") &&
		(len(node.Falls) == 0 || Rested(node, f.n.Now).IsZero())
}

func (f *ready) explain(nodes int) string {
	if nodes == 1 {
		return "1 node not available for new tasks"
	}
	return fmt.Sprintf("%d nodes not available for new tasks", nodes)
}

const insufficient = "insufficient resources"

type resource struct {
	n    *Nodes
	want swarm.Resources
}

func (f *resource) setTask(n *Nodes, g *Group) bool {
	r := reservations(g.Spec)
	if r == nil || r.NanoCPUs == 0 && r.MemoryBytes == 0 && len(r.GenericResources) == 0 {
		return false
	}
	f.n, f.want = n, *r
	return true
}

func (f *resource) check(i int32, _ *cluster.Task) bool {
	left := f.n.left[i]
	return f.want.NanoCPUs <= max(left.cpu, 0) && f.want.MemoryBytes <= max(left.memory, 0) &&
		(len(f.want.GenericResources) == 0 || f.n.generics(i).enough(f.want.GenericResources))
}

func (f *resource) explain(nodes int) string { return onNodes(insufficient, nodes) }

// plugin looks for volume and log drivers among those that a node reports. A node that reports none of a kind is
// taken to have what it needs: it will say so itself if not.
type plugin struct {
	n    *Nodes
	want []swarm.PluginDescription
}

func (f *plugin) setTask(n *Nodes, g *Group) bool {
	f.n, f.want = n, wantPlugins(g.Spec)
	return len(f.want) > 0
}

func wantPlugins(spec *cluster.Spec) []swarm.PluginDescription {
	var want []swarm.PluginDescription
	if d := spec.Task.LogDriver; d != nil && d.Name != "" && d.Name != "none" {
		want = append(want, swarm.PluginDescription{Type: "Log", Name: d.Name})
	}
	if spec.Task.ContainerSpec == nil {
		return want
	}
	for _, m := range spec.Task.ContainerSpec.Mounts {
		if m.VolumeOptions != nil && m.VolumeOptions.DriverConfig != nil {
			if name := m.VolumeOptions.DriverConfig.Name; name != "" && name != "local" {
				want = append(want, swarm.PluginDescription{Type: "Volume", Name: name})
			}
		}
	}
	return want
}

func (f *plugin) check(i int32, _ *cluster.Task) bool {
	for _, want := range f.want {
		some, found := false, false
		for _, have := range f.n.nodes[i].Description.Engine.Plugins {
			some = some || have.Type == want.Type
			found = found || have == want || have.Type == want.Type && have.Name == want.Name+":latest"
		}
		if some && !found {
			return false
		}
	}
	return true
}

func (f *plugin) explain(nodes int) string { return onNodes("missing plugin", nodes) }

type constraint struct {
	n       *Nodes
	cs      Constraints
	invalid bool
}

func (f *constraint) setTask(n *Nodes, g *Group) bool {
	if g.Spec.Task.Placement == nil || len(g.Spec.Task.Placement.Constraints) == 0 {
		return false
	}
	cs, err := ParseConstraints(g.Spec.Task.Placement.Constraints)
	f.n, f.cs, f.invalid = n, cs, err != nil
	return true
}

func (f *constraint) check(i int32, _ *cluster.Task) bool {
	return !f.invalid && f.cs.Match(f.n.nodes[i])
}

func (f *constraint) explain(nodes int) string {
	return onNodes("scheduling constraints not satisfied", nodes)
}

type platform struct {
	n    *Nodes
	want []swarm.Platform
}

func (f *platform) setTask(n *Nodes, g *Group) bool {
	if g.Spec.Task.Placement == nil {
		return false
	}
	f.n, f.want = n, g.Spec.Task.Placement.Platforms
	return len(f.want) > 0
}

func (f *platform) check(i int32, _ *cluster.Task) bool { return supported(f.want, f.n.nodes[i]) }

func (f *platform) explain(nodes int) string { return onNodes("unsupported platform", nodes) }

const portInUse = "host-mode port already in use"

type hostPort struct {
	n     *Nodes
	ports []swarm.PortConfig
	group *Group
}

func (f *hostPort) setTask(n *Nodes, g *Group) bool {
	f.n, f.group, f.ports = n, g, nil
	for _, port := range hostPorts(g.Spec) {
		if port.PublishedPort != 0 {
			f.ports = append(f.ports, port)
		}
	}
	return len(f.ports) > 0
}

func (f *hostPort) check(i int32, t *cluster.Task) bool {
	for _, port := range f.ports {
		user, taken := f.n.ports[portKey{i, port.PublishedPort, port.Protocol}]
		if taken && !(follows(t) && user.service == f.group.ServiceID && user.slot == t.Slot) {
			return false
		}
	}
	return true
}

// follows says whether a task will start only when the one before it in its slot has ended.
func follows(t *cluster.Task) bool { return t.DesiredState == swarm.TaskStateReady }

func (f *hostPort) explain(nodes int) string { return onNodes(portInUse, nodes) }

const tooManyReplicas = "max replicas per node limit exceed"

type maxReplicas struct {
	tasks map[int32]uint32
	most  uint64
}

func (f *maxReplicas) setTask(n *Nodes, g *Group) bool {
	if g.Spec.Task.Placement == nil || g.Spec.Task.Placement.MaxReplicas == 0 {
		return false
	}
	f.tasks, f.most = n.service(g.ServiceID).tasks, g.Spec.Task.Placement.MaxReplicas
	return true
}

func (f *maxReplicas) check(i int32, _ *cluster.Task) bool { return uint64(f.tasks[i]) < f.most }

func (f *maxReplicas) explain(int) string { return tooManyReplicas }

// Frees says whether the end of another task could help a task that was refused for that reason.
func Frees(reason string) bool {
	return strings.Contains(reason, insufficient) || strings.Contains(reason, portInUse) || strings.Contains(reason, tooManyReplicas)
}

// explain says why none of the candidates can take t, most frequent reason first.
func explain(filters []filter, candidates iter.Seq[int32], t *cluster.Task) string {
	counts := make([]int, len(filters))
	for i := range candidates {
		for k, f := range filters {
			if !f.check(i, t) {
				counts[k]++
				break
			}
		}
	}
	order := make([]int, 0, len(filters))
	for k, c := range counts {
		if c > 0 {
			order = append(order, k)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(counts[b], counts[a]) })
	var reasons []string
	for _, k := range order {
		reasons = append(reasons, filters[k].explain(counts[k]))
	}
	if len(reasons) == 0 {
		return "no suitable node"
	}
	return "no suitable node (" + strings.Join(reasons, "; ") + ")"
}
