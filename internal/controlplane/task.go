package controlplane

import (
	"iter"
	"reflect"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/schedule"
	"shoal/internal/store"
)

// Tasks lists tasks by filter (id and name and their beginnings; label, service, node, desired-state, runtime, and
// _up-to-date, by which the CLI follows an update). ErrNotFound when a service or node that the filter names is unknown.
func (c *Control) Tasks(f Filters) ([]swarm.Task, error) {
	if err := f.Check("id", "name", "label", "service", "node", "desired-state", "runtime", "_up-to-date"); err != nil {
		return nil, err
	}
	v := c.Store.View()
	services, err := resolveRefs(v, store.Services, f["service"], func(s *cluster.Service) string { return s.ID })
	if err != nil {
		return nil, err
	}
	nodes, err := resolveRefs(v, store.Nodes, f["node"], func(n *cluster.Node) string { return n.ID })
	if err != nil {
		return nil, err
	}
	for _, s := range f["desired-state"] {
		if !knownState(swarm.TaskState(strings.ToLower(s))) {
			return nil, invalid("Invalid desired-state filter: '%s'", s)
		}
	}
	j := newJoin(v)
	var found []*cluster.Task
	for t := range candidates(v, services, nodes) {
		if j.matches(t, f, services, nodes) {
			found = append(found, t)
		}
	}
	list := make([]swarm.Task, len(found)) // a task of the API is large: it is written once, in its place
	for i, t := range found {
		j.task(t, &list[i])
	}
	return list, nil
}

// Task is one task by ID or unique beginning of one.
func (c *Control) Task(ref string) (swarm.Task, error) {
	v := c.Store.View()
	t, err := store.Tasks.Find(v, ref)
	if err != nil {
		return swarm.Task{}, err
	}
	var out swarm.Task
	newJoin(v).task(t, &out)
	return out, nil
}

// resolveRefs turns the references of a filter into full IDs; nil without any.
func resolveRefs[T any](r store.Reader, table *store.Table[T], refs []string, id func(*T) string) ([]string, error) {
	var ids []string
	for _, ref := range refs {
		o, err := table.Find(r, ref)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id(o))
	}
	return ids, nil
}

// candidates is the smallest walk that holds every task of the services and nodes asked for.
func candidates(r store.Reader, services, nodes []string) iter.Seq[*cluster.Task] {
	switch {
	case len(services) > 0:
		return each(r, store.TaskService, services)
	case len(nodes) > 0:
		return each(r, store.TaskNode, nodes)
	}
	return store.Tasks.All(r)
}

func each(r store.Reader, index *store.Index[cluster.Task], keys []string) iter.Seq[*cluster.Task] {
	return func(yield func(*cluster.Task) bool) {
		for _, key := range slices.Compact(slices.Sorted(slices.Values(keys))) {
			for t := range store.Tasks.By(r, index, key) {
				if !yield(t) {
					return
				}
			}
		}
	}
}

func knownState(s swarm.TaskState) bool { return s == swarm.TaskStateNew || cluster.Rank(s) > 0 }

// join puts tasks together with their specs and networks, on one state. It remembers what many tasks share.
type join struct {
	r       store.Reader
	dirty   map[[2]string]bool // by pair of spec IDs: they differ in more than placement
	service *cluster.Service   // the last one: tasks of a service mostly come in a row
	spec    *cluster.Spec
}

func newJoin(r store.Reader) *join { return &join{r: r, dirty: make(map[[2]string]bool)} }

// serviceOf is the task's service; nil when it is gone.
func (j *join) serviceOf(t *cluster.Task) *cluster.Service {
	if j.service == nil || j.service.ID != t.ServiceID {
		j.service = store.Services.Get(j.r, t.ServiceID)
	}
	return j.service
}

// specOf is the task's spec; nil for a plain container's attachment.
func (j *join) specOf(t *cluster.Task) *cluster.Spec {
	if j.spec == nil || j.spec.ID != t.SpecID {
		j.spec = store.Specs.Get(j.r, t.SpecID)
	}
	return j.spec
}

func (j *join) matches(t *cluster.Task, f Filters, services, nodes []string) bool {
	switch {
	case len(services) > 0 && !slices.Contains(services, t.ServiceID),
		len(nodes) > 0 && !slices.Contains(nodes, t.NodeID),
		!f.Prefix("id", t.ID),
		f.Has("name") && !f.Prefix("name", t.Name()): // a name is put together for it
		return false
	}
	if wanted := f["desired-state"]; len(wanted) > 0 &&
		!slices.ContainsFunc(wanted, func(s string) bool { return strings.EqualFold(s, string(t.DesiredState)) }) {
		return false
	}
	if f.Has("label") || f.Has("runtime") {
		labels, runtime := j.labels(t)
		if !f.Labels("label", labels) || !f.Exact("runtime", runtime) {
			return false
		}
	}
	return !f.Has("_up-to-date") || j.upToDate(t)
}

// labels are those that a task filter sees, the container's, and the task's runtime.
func (j *join) labels(t *cluster.Task) (map[string]string, string) {
	spec := j.specOf(t)
	switch {
	case spec == nil:
		return nil, string(swarm.RuntimeNetworkAttachment)
	case spec.Task.ContainerSpec == nil:
		return nil, string(spec.Task.Runtime)
	}
	return spec.Task.ContainerSpec.Labels, string(spec.Task.Runtime)
}

// upToDate says whether a task is what its service now asks for. A change of placement alone leaves a task that still
// fits its node as it is.
func (j *join) upToDate(t *cluster.Task) bool {
	s := j.serviceOf(t)
	if s == nil {
		return false
	}
	if s.SpecID == t.SpecID {
		return s.JobStatus == nil || t.JobIteration == s.JobStatus.JobIteration.Index
	}
	pair := [2]string{t.SpecID, s.SpecID}
	want := store.Specs.Get(j.r, s.SpecID)
	dirty, known := j.dirty[pair]
	if !known {
		dirty = differs(j.specOf(t), want)
		j.dirty[pair] = dirty
	}
	if dirty {
		return false
	}
	n := store.Nodes.Get(j.r, t.NodeID)
	return n != nil && schedule.Fits(want, n)
}

// differs says whether two specs differ in more than placement.
func differs(a, b *cluster.Spec) bool {
	if a == nil || b == nil {
		return true
	}
	x, y := a.Task, b.Task
	x.Placement, y.Placement = nil, nil
	return !reflect.DeepEqual(x, y) || !reflect.DeepEqual(a.HostPorts, b.HostPorts)
}

// task writes a stored task to out as the API shows it.
func (j *join) task(t *cluster.Task, out *swarm.Task) {
	*out = swarm.Task{
		ID: t.ID, Meta: t.Meta, ServiceID: t.ServiceID, Slot: t.Slot, NodeID: t.NodeID,
		Status: t.Status, DesiredState: t.DesiredState, GenericResources: t.Generic,
		Annotations: noLabels, Volumes: []swarm.VolumeAttachment{},
	}
	if spec := j.specOf(t); spec != nil {
		out.Spec = spec.Task
	} else if t.Attached() {
		out.Spec.Runtime = swarm.RuntimeNetworkAttachment
		out.Spec.NetworkAttachmentSpec = &swarm.NetworkAttachmentSpec{ContainerID: t.Container.ID}
	}
	if s := j.serviceOf(t); s != nil && s.JobStatus != nil || t.JobIteration > 0 {
		out.JobIteration = &swarm.Version{Index: t.JobIteration}
	}
	for _, a := range t.Attachments {
		at := swarm.NetworkAttachment{Addresses: a.Addresses}
		if n := store.Networks.Get(j.r, a.NetworkID); n != nil {
			at.Network = networkObject(n)
		} else {
			at.Network.ID = a.NetworkID
		}
		out.NetworksAttachments = append(out.NetworksAttachments, at)
	}
}

// noLabels are the annotations of every task, as in Docker: it has none of its own, but clients read the labels.
var noLabels = swarm.Annotations{Labels: map[string]string{}}
