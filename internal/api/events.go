package api

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/events"

	"shoal/internal/controlplane"
)

// eventKeys are the filters of /events.
var eventKeys = []string{
	"type", "event", "scope", "label", "container", "image", "volume", "network", "node", "service",
	"secret", "config", "daemon", "plugin", "builder",
}

// legacyEvent adds what clients before 1.52 look at.
type legacyEvent struct {
	Status string `json:"status,omitempty"`
	ID     string `json:"id,omitempty"`
	From   string `json:"from,omitempty"`
	events.Message
}

// events streams what happens on this node and, on a manager, in the swarm: one JSON object a line, until the client
// goes or the moment "until" comes.
func (s *Server) events(w http.ResponseWriter, r *http.Request) error {
	f, err := filtersParam(r)
	if err == nil {
		err = f.Check(eventKeys...)
	}
	if err != nil {
		return err
	}
	since, err := timeParam(r, "since")
	if err != nil {
		return err
	}
	until, err := timeParam(r, "until")
	if err != nil {
		return err
	}
	e, err := s.engine()
	if err != nil {
		return err
	}
	ctx := r.Context()
	if !until.IsZero() {
		var cancel context.CancelFunc
		// What is kept of the past is told even when until is over.
		ctx, cancel = context.WithDeadline(ctx, until.Add(max(0, time.Since(until))+pastGrace))
		defer cancel()
	}
	all := make(chan events.Message)
	pump := func(seq func(func(events.Message) bool)) {
		for m := range seq {
			select {
			case all <- m:
			case <-ctx.Done():
				return
			}
		}
	}
	go pump(e.Events().Subscribe(ctx, since)) // the swarm's events among them, on a manager
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	if err := http.NewResponseController(w).Flush(); err != nil {
		return err
	}
	enc := json.NewEncoder(flusher{w})
	legacy := versionOf(r) < 52
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-all:
			if !eventMatches(f, m) || (!until.IsZero() && m.TimeNano > until.UnixNano()) {
				continue
			}
			if err := enc.Encode(eventForm(m, legacy)); err != nil {
				return err
			}
		}
	}
}

// pastGrace is how long a listing of past events may take.
const pastGrace = 100 * time.Millisecond

func eventForm(m events.Message, legacy bool) any {
	if !legacy || (m.Type != events.ContainerEventType && m.Type != events.ImageEventType) {
		return m
	}
	out := legacyEvent{Status: string(m.Action), ID: m.Actor.ID, Message: m}
	if m.Type == events.ContainerEventType {
		out.From = m.Actor.Attributes["image"]
	}
	return out
}

// eventMatches says whether a filter lets an event through: values of one key are alternatives (labels must all be
// there), and keys that name objects are alternatives to one another too, as in Docker.
func eventMatches(f controlplane.Filters, m events.Message) bool {
	if !f.Exact("type", string(m.Type)) || !f.Exact("scope", m.Scope) {
		return false
	}
	action := func(want string) bool {
		return want == string(m.Action) || strings.HasPrefix(string(m.Action), want+":")
	}
	if len(f["event"]) > 0 && !slices.ContainsFunc(f["event"], action) {
		return false
	}
	for _, want := range f["label"] {
		k, v, exact := strings.Cut(want, "=")
		if got, ok := m.Actor.Attributes[k]; !ok || exact && got != v {
			return false
		}
	}
	named := false
	for _, key := range []string{"container", "image", "volume", "network", "node", "service", "secret", "config", "daemon", "plugin", "builder"} {
		if len(f[key]) == 0 {
			continue
		}
		named = true
		if slices.ContainsFunc(f[key], func(want string) bool { return concerns(m, key, want) }) {
			return true
		}
	}
	return !named
}

// concerns says whether an event is about the object of that kind with this name or ID.
func concerns(m events.Message, kind, want string) bool {
	name := m.Actor.Attributes["name"]
	if kind == "image" && m.Type == events.ContainerEventType { // the containers of an image
		name = m.Actor.Attributes["image"]
		return name == want || strings.Split(name, ":")[0] == want
	}
	if string(m.Type) != kind {
		return false
	}
	return m.Actor.ID == want || name == want || len(want) >= 4 && strings.HasPrefix(m.Actor.ID, want) ||
		kind == "image" && strings.Split(name, ":")[0] == want
}
