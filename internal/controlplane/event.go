package controlplane

import (
	"maps"
	"reflect"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// Events derives the API's events from one store event, in the order of its changes: services, nodes, networks,
// secrets and configs that came, changed or went. Tasks make no events, as in Docker. now is the time of those objects
// that are gone; the others bear their own.
func Events(e store.Event, now time.Time) []events.Message {
	var list []events.Message
	for _, change := range e.Changes {
		if m, ok := eventOf(change, now); ok {
			list = append(list, m)
		}
	}
	return list
}

func eventOf(change store.Change, now time.Time) (events.Message, bool) {
	switch change.Table {
	case store.Services.Name():
		old, is := pair[cluster.Service](change)
		return message(events.ServiceEventType, old, is, now, describeService, serviceChanges)
	case store.Nodes.Name():
		old, is := pair[cluster.Node](change)
		return message(events.NodeEventType, old, is, now, describeNode, nodeChanges)
	case store.Networks.Name():
		old, is := pair[cluster.Network](change)
		return message(events.NetworkEventType, old, is, now, describeNetwork, nil)
	case store.Secrets.Name():
		old, is := pair[cluster.Secret](change)
		return message(events.SecretEventType, old, is, now, func(s *cluster.Secret) (string, string, time.Time) {
			return s.ID, s.Spec.Name, s.UpdatedAt
		}, nil)
	case store.Configs.Name():
		old, is := pair[cluster.Config](change)
		return message(events.ConfigEventType, old, is, now, func(c *cluster.Config) (string, string, time.Time) {
			return c.ID, c.Spec.Name, c.UpdatedAt
		}, nil)
	}
	return events.Message{}, false
}

func pair[T any](change store.Change) (old, is *T) {
	old, _ = change.Old.(*T)
	is, _ = change.New.(*T)
	return old, is
}

// message makes the event of one change. changes adds what an update did; it says no when nothing that the API shows
// has changed.
func message[T any](kind events.Type, old, is *T, now time.Time, describe func(*T) (id, name string, at time.Time),
	changes func(attrs map[string]string, old, is *T) bool,
) (events.Message, bool) {
	m := events.Message{Type: kind, Scope: "swarm"}
	shown, at := is, now
	switch {
	case old == nil && is == nil:
		return m, false
	case old == nil:
		m.Action = events.ActionCreate
	case is == nil:
		m.Action, shown = events.ActionRemove, old
	default:
		m.Action = events.ActionUpdate
	}
	id, name, updated := describe(shown)
	if is != nil {
		at = updated
	}
	m.Actor = events.Actor{ID: id, Attributes: map[string]string{"name": name}}
	m.Time, m.TimeNano = at.Unix(), at.UnixNano()
	if m.Action == events.ActionUpdate && changes != nil && !changes(m.Actor.Attributes, old, is) {
		return m, false
	}
	return m, true
}

// note records a value that has changed, under name.old and name.new.
func note(attrs map[string]string, name, old, is string) {
	if old != is {
		attrs[name+".old"], attrs[name+".new"] = old, is
	}
}

func describeService(s *cluster.Service) (string, string, time.Time) {
	return s.ID, s.Spec.Name, s.UpdatedAt
}

func serviceChanges(attrs map[string]string, old, is *cluster.Service) bool {
	note(attrs, "image", imageOf(old), imageOf(is))
	note(attrs, "replicas", replicasOf(old), replicasOf(is))
	note(attrs, "updatestate", updateState(old), updateState(is))
	return len(attrs) > 1 || !reflect.DeepEqual(old.Spec, is.Spec) || !reflect.DeepEqual(old.Endpoint, is.Endpoint)
}

func imageOf(s *cluster.Service) string {
	if c := s.Spec.TaskTemplate.ContainerSpec; c != nil {
		return c.Image
	}
	return ""
}

func replicasOf(s *cluster.Service) string {
	if r := s.Spec.Mode.Replicated; r != nil && r.Replicas != nil {
		return strconv.FormatUint(*r.Replicas, 10)
	}
	return ""
}

func updateState(s *cluster.Service) string {
	if s.UpdateStatus == nil {
		return ""
	}
	return string(s.UpdateStatus.State)
}

func describeNode(n *cluster.Node) (string, string, time.Time) { return n.ID, nodeName(n), n.UpdatedAt }

func nodeChanges(attrs map[string]string, old, is *cluster.Node) bool {
	note(attrs, "availability", string(old.Spec.Availability), string(is.Spec.Availability))
	note(attrs, "role", string(old.Spec.Role), string(is.Spec.Role))
	note(attrs, "state", string(old.Status.State), string(is.Status.State))
	was, has := managerStatus(old), managerStatus(is)
	note(attrs, "leader", strconv.FormatBool(was.Leader), strconv.FormatBool(has.Leader))
	note(attrs, "reachability", string(was.Reachability), string(has.Reachability))
	return len(attrs) > 1 || !maps.Equal(old.Spec.Labels, is.Spec.Labels) || old.Status != is.Status ||
		!reflect.DeepEqual(old.Description, is.Description)
}

func managerStatus(n *cluster.Node) swarm.ManagerStatus {
	if n.ManagerStatus == nil {
		return swarm.ManagerStatus{}
	}
	return *n.ManagerStatus
}

func describeNetwork(n *cluster.Network) (string, string, time.Time) {
	return n.ID, n.Spec.Name, n.UpdatedAt
}
