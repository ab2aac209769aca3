package controlplane

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// happened lists the events of everything after the index, each as "type action" with its attributes.
func happened(t *testing.T, c *Control, after uint64) (list []events.Message) {
	t.Helper()
	for e, err := range c.Store.Watch(t.Context(), after) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, Events(e, time.Unix(1e9, 0))...)
		if e.Index >= c.Store.Index() {
			return list
		}
	}
	return list
}

func TestEvents(t *testing.T) {
	c := newControl(t)
	ctx := t.Context()
	var s *cluster.Service
	for _, tt := range []struct {
		name  string
		do    func() error
		kind  events.Type
		act   events.Action
		attrs map[string]string // nil: no event
	}{
		{"create", func() error { s = create(t, c, `{}`); return nil }, "service", "create", map[string]string{"name": "web"}},
		{"scale", func() error { update(t, c, `{"Mode":{"Replicated":{"Replicas":3}}}`, ServiceUpdate{}); return nil }, "service", "update", map[string]string{"name": "web", "replicas.old": "1", "replicas.new": "3"}},
		{"image", func() error {
			update(t, c, `{"Mode":{"Replicated":{"Replicas":3}},"TaskTemplate":{"ContainerSpec":{"Image":"web:v2"}}}`, ServiceUpdate{})
			return nil
		}, "service", "update", map[string]string{"name": "web", "image.old": "web:v1", "image.new": "web:v2"}},
		{"rollback", func() error { update(t, c, `{}`, ServiceUpdate{Rollback: "previous"}); return nil }, "service", "update", map[string]string{
			"name": "web", "image.old": "web:v2", "image.new": "web:v1", "updatestate.old": "", "updatestate.new": "rollback_started",
		}},
		{"task", func() error { putTask(t, c, s, "t1", nil); return nil }, "", "", nil},
		{"remove", func() error { return c.RemoveService(ctx, "web") }, "service", "remove", map[string]string{"name": "web"}},
		{"drain", func() error {
			n := store.Nodes.Get(c.Store.View(), "node1")
			return c.UpdateNode(ctx, "node1", n.Version.Index, swarm.NodeSpec{Role: "manager", Availability: "drain"})
		}, "node", "update", map[string]string{"name": "host-node1", "availability.old": "active", "availability.new": "drain"}},
		{"what the API does not show", func() error {
			_, err := c.Store.Update(ctx, func(tx *store.Tx) error {
				n := new(*store.Nodes.Get(tx, "node1"))
				n.Falls = append(n.Falls, tx.Now())
				store.Nodes.Put(tx, n)
				return nil
			})
			return err
		}, "", "", nil},
		{"secret", func() error {
			_, err := c.CreateSecret(ctx, swarm.SecretSpec{Annotations: swarm.Annotations{Name: "pw"}, Data: []byte("x")})
			return err
		}, "secret", "create", map[string]string{"name": "pw"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := c.Store.Index()
			if err := tt.do(); err != nil {
				t.Fatal(err)
			}
			list := happened(t, c, before)
			if tt.attrs == nil {
				if len(list) != 0 {
					t.Errorf("events: %+v, want none", list)
				}
				return
			}
			if len(list) != 1 || list[0].Type != tt.kind || list[0].Action != tt.act || list[0].Scope != "swarm" || list[0].TimeNano == 0 {
				t.Fatalf("events: %+v, want one %s %s", list, tt.kind, tt.act)
			}
			if diff := cmp.Diff(tt.attrs, list[0].Actor.Attributes); diff != "" {
				t.Errorf("attributes (-want +got):\n%s", diff)
			}
		})
	}
}
