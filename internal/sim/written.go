package sim

import (
	"fmt"
	"maps"
	"slices"

	"github.com/fxamacker/cbor/v2"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// stored says whether an object is in a view.
func stored(v store.View, table, id string) bool {
	switch table {
	case store.Services.Name():
		return store.Services.Get(v, id) != nil
	case store.Configs.Name():
		return store.Configs.Get(v, id) != nil
	case store.Secrets.Name():
		return store.Secrets.Get(v, id) != nil
	case store.Networks.Name():
		return store.Networks.Get(v, id) != nil
	}
	return false
}

// written takes note of a write that a client was told is made; the manager that told it must show it at once.
func (r *rules) written(m *manager, table, id string) {
	r.w.written++
	r.acked[id] = table
	if !stored(m.store.View(), table, id) {
		r.w.fail("%s told a client that %s in %s is stored, and does not show it", m.host.id, id, table)
	}
}

// removed takes note that a client asked to have an object removed: from now on it may be gone.
func (r *rules) removed(id string) { delete(r.acked, id) }

// newLeader holds that a new leader has every write that a client was told is made.
func (r *rules) newLeader(m *manager) {
	v := m.store.View()
	if v.Index() < r.index {
		r.w.fail("%s leads at index %d; %d was committed", m.host.id, v.Index(), r.index)
	}
	for _, id := range slices.Sorted(maps.Keys(r.acked)) {
		if !stored(v, r.acked[id], id) {
			r.w.fail("%s leads without %s in %s, which a client was told is stored", m.host.id, id, r.acked[id])
		}
	}
	r.alike()
}

// alike holds that managers at the same index have the same objects in the same versions.
func (r *rules) alike() {
	seen := map[uint64]string{}
	from := map[uint64]string{}
	for _, h := range r.w.hosts {
		if h.manager == nil {
			continue
		}
		v := h.manager.store.View()
		print := versions(v)
		if have, ok := seen[v.Index()]; ok && have != print {
			r.w.fail("%s and %s differ at index %d:\n%s\n%s", from[v.Index()], h.id, v.Index(), have, print)
		}
		seen[v.Index()], from[v.Index()] = print, h.id
	}
}

// versions prints the ID and version of every object.
func versions(v store.View) string {
	var b []byte
	add := func(id string, m *swarm.Meta) { b = fmt.Appendf(b, "%s %d\n", id, m.Version.Index) }
	for o := range store.Nodes.All(v) {
		add(o.ID, &o.Meta)
	}
	for o := range store.Services.All(v) {
		add(o.ID, &o.Meta)
	}
	for o := range store.Specs.All(v) {
		add(o.ID, &o.Meta)
	}
	for o := range store.Tasks.All(v) {
		add(o.ID, &o.Meta)
	}
	return string(b)
}

// identical holds that managers at the same index hold the same bytes.
func (r *rules) identical() {
	mode, err := cbor.EncOptions{Sort: cbor.SortBytewiseLexical, TextMarshaler: cbor.TextMarshalerTextString, Time: cbor.TimeRFC3339Nano}.EncMode()
	if err != nil {
		r.w.fail("%v", err)
		return
	}
	var have map[string]string
	from := ""
	for _, h := range r.w.hosts {
		if h.manager == nil || h.manager.store.Index() != r.index {
			continue
		}
		now := contents(h.manager.store.View(), mode)
		for id, bytes := range now {
			if have != nil && have[id] != bytes {
				r.w.fail("%s differs on %s and %s at index %d", id, from, h.id, r.index)
			}
		}
		if have != nil && len(have) != len(now) {
			r.w.fail("%s has %d objects, %s has %d", from, len(have), h.id, len(now))
		}
		have, from = now, h.id
	}
}

func contents(v store.View, mode cbor.EncMode) map[string]string {
	out := map[string]string{}
	add := func(id string, o any) {
		b, err := mode.Marshal(o)
		if err != nil {
			b = []byte(err.Error())
		}
		out[fmt.Sprintf("%T %s", o, id)] = string(b)
	}
	for o := range store.Clusters.All(v) {
		add(o.ID, o)
	}
	for o := range store.Nodes.All(v) {
		add(o.ID, o)
	}
	for o := range store.Services.All(v) {
		add(o.ID, o)
	}
	for o := range store.Specs.All(v) {
		add(o.ID, o)
	}
	for o := range store.Tasks.All(v) {
		add(o.ID, o)
	}
	for o := range store.Networks.All(v) {
		add(o.ID, o)
	}
	for o := range store.Secrets.All(v) {
		add(o.ID, o)
	}
	for o := range store.Configs.All(v) {
		add(o.ID, o)
	}
	return out
}

// tell adds a transaction to the story.
func (r *rules) tell(ev store.Event) {
	line := fmt.Appendf(nil, "commit %d:", ev.Index)
	for _, c := range ev.Changes {
		switch o := either(c.Old, c.New).(type) {
		case *cluster.Task:
			line = append(line, taskLine(o, c.New == nil)...)
		case *cluster.Service:
			line = fmt.Appendf(line, " [service %s", o.Spec.Name)
			if c.New == nil {
				line = append(line, " gone"...)
			} else if o.UpdateStatus != nil {
				line = append(line, " "+o.UpdateStatus.State...)
			}
			line = fmt.Appendf(line, " %s]", short(o.SpecID))
		case *cluster.Node:
			line = fmt.Appendf(line, " [node %s %s %s]", o.ID, o.Status.State, o.Spec.Availability)
		default:
			line = fmt.Appendf(line, " [%s]", c.Table)
		}
	}
	r.w.note("%s", line)
}

func taskLine(t *cluster.Task, gone bool) string {
	if gone {
		return fmt.Sprintf(" [task %s gone]", short(t.ID))
	}
	more := ""
	if t.DesiredState != swarm.TaskStateRunning {
		more = ", wanted " + string(t.DesiredState)
	}
	if !t.LeftAt.IsZero() {
		more += ", left"
	}
	return fmt.Sprintf(" [task %s %s.%d %s on %s: %s%s]", short(t.ID), t.ServiceName, t.Slot, short(t.SpecID), t.NodeID, t.Status.State, more)
}

func either(old, now any) any {
	if now != nil {
		return now
	}
	return old
}
