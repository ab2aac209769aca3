package controlplane

import (
	"net/netip"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

func TestTasks(t *testing.T) {
	c := newControl(t)
	s := create(t, c, `{"TaskTemplate":{"ContainerSpec":{"Image":"web:v1","Labels":{"a":"b"}}}}`)
	other := create(t, c, `{"Name":"other"}`)
	putTask(t, c, s, "aaa", nil)
	putTask(t, c, s, "aab", func(x *cluster.Task) { x.NodeID, x.DesiredState = "", swarm.TaskStateShutdown })
	putTask(t, c, other, "abb", nil)
	for _, tt := range []struct {
		filters string
		want    int
	}{
		{``, 3},
		{`{"service":["web"]}`, 2},
		{`{"service":["web","other"]}`, 3},
		{`{"node":["host-node1"]}`, 2},
		{`{"node":["node1"],"service":["web"]}`, 1},
		{`{"desired-state":["running"]}`, 2},
		{`{"desired-state":["SHUTDOWN"]}`, 1},
		{`{"id":["aa"]}`, 2},
		{`{"name":["web.1."]}`, 2},
		{`{"label":["a=b"]}`, 2},
		{`{"runtime":["container"]}`, 3},
		{`{"_up-to-date":["true"]}`, 3},
	} {
		f, err := ParseFilters(tt.filters)
		if err != nil {
			t.Fatal(err)
		}
		if list, err := c.Tasks(f); err != nil || len(list) != tt.want {
			t.Errorf("%s: %d tasks and %v, want %d", tt.filters, len(list), err, tt.want)
		}
	}
	for filters, want := range map[string]string{
		`{"desired-state":["lost"]}`: "Invalid desired-state filter: 'lost'",
		`{"service":["nosuch"]}`:     "service nosuch not found",
		`{"bad":["x"]}`:              "invalid filter 'bad'",
	} {
		f, err := ParseFilters(filters)
		if err == nil {
			_, err = c.Tasks(f)
		}
		wantError(t, err, nil, want)
	}
	_, err := c.Task("zzz")
	wantError(t, err, errdefs.ErrNotFound, "task zzz not found")
	_, err = c.Task("aa")
	wantError(t, err, errdefs.ErrInvalidArgument, "task aa is ambiguous (2 matches found)")
}

// TestUpToDate: a task of an older template is not up to date, but one whose placement alone has changed is while it
// fits its node.
func TestUpToDate(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		want       int
	}{
		{"labels", `{"Labels":{"a":"b"}}`, 1},
		{"image", v2, 0},
		{"placement that fits", `{"TaskTemplate":{"Placement":{"Constraints":["node.role==manager"]}}}`, 1},
		{"placement that does not", `{"TaskTemplate":{"Placement":{"Constraints":["node.role==worker"]}}}`, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newControl(t)
			putTask(t, c, create(t, c, `{}`), "t1", nil)
			update(t, c, tt.body, ServiceUpdate{})
			list, err := c.Tasks(Filters{"_up-to-date": {"true"}})
			if err != nil || len(list) != tt.want {
				t.Errorf("%d tasks up to date and %v, want %d", len(list), err, tt.want)
			}
		})
	}
}

func TestTaskView(t *testing.T) {
	c := newControl(t)
	s := create(t, c, `{}`)
	ingress := ingressNetwork(c.Store.View())
	addr := netip.MustParsePrefix("10.0.0.9/24")
	putTask(t, c, s, "t1", func(x *cluster.Task) {
		x.Attachments = []cluster.Attachment{{NetworkID: ingress.ID, Addresses: []netip.Prefix{addr}}, {NetworkID: "gone"}}
	})
	got, err := c.Task("t1")
	if err != nil {
		t.Fatal(err)
	}
	at := got.NetworksAttachments
	if got.Spec.ContainerSpec.Image != "web:v1" || len(at) != 2 || at[0].Network.Spec.Name != "ingress" || at[0].Addresses[0] != addr || at[1].Network.ID != "gone" {
		t.Errorf("task: %+v", got)
	}
}

func BenchmarkProgressPoll(b *testing.B) { // what one waiting CLI asks five times a second
	c := newControl(b)
	s := create(b, c, `{"Mode":{"Replicated":{"Replicas":1000}}}`)
	if _, err := c.Store.Update(b.Context(), func(tx *store.Tx) error {
		for range 1000 {
			store.Tasks.Put(tx, &cluster.Task{ID: cluster.NewID(), ServiceID: s.ID, SpecID: s.SpecID, NodeID: "node1", DesiredState: swarm.TaskStateRunning})
		}
		return nil
	}); err != nil {
		b.Fatal(err)
	}
	f := Filters{"service": {s.ID}, "_up-to-date": {"true"}}
	for b.Loop() {
		if _, err := c.Service(s.ID, false); err != nil {
			b.Fatal(err)
		}
		if list, err := c.Tasks(f); err != nil || len(list) != 1000 {
			b.Fatal(len(list), err)
		}
		if _, err := c.Nodes(nil); err != nil {
			b.Fatal(err)
		}
	}
}
