package controlplane

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/ca"
	"shoal/internal/cluster"
	"shoal/internal/store"
	"shoal/internal/store/storetest"
)

// newControl is a swarm of one manager, node1, on a store in memory.
func newControl(t testing.TB) *Control {
	t.Helper()
	c := &Control{Store: storetest.New(t)}
	storetest.Update(t, c.Store, func(tx *store.Tx) {
		one := &cluster.Cluster{}
		if err := ca.NewCluster(one, nil, nil, time.Now()); err != nil {
			t.Fatal(err)
		}
		if err := Bootstrap(tx, one, node("node1", swarm.NodeRoleManager)); err != nil {
			t.Fatal(err)
		}
	})
	return c
}

func node(id string, role swarm.NodeRole) *cluster.Node {
	n := &cluster.Node{}
	n.ID = id
	n.Spec = swarm.NodeSpec{Role: role, Availability: swarm.NodeAvailabilityActive}
	n.Description.Hostname = "host-" + id
	n.Status.State = swarm.NodeStateReady
	return n
}

// spec reads a service spec from the JSON that a client would send; image and name have defaults.
func spec(t testing.TB, body string) swarm.ServiceSpec {
	t.Helper()
	s := swarm.ServiceSpec{}
	s.Name = "web"
	s.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{Image: "web:v1"}
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return s
}

func create(t testing.TB, c *Control, body string) *cluster.Service {
	t.Helper()
	resp, err := c.CreateService(t.Context(), spec(t, body), "")
	if err != nil {
		t.Fatalf("create %s: %v", body, err)
	}
	return store.Services.Get(c.Store.View(), resp.ID)
}

func putTask(t testing.TB, c *Control, s *cluster.Service, id string, change func(*cluster.Task)) {
	t.Helper()
	storetest.Update(t, c.Store, func(tx *store.Tx) {
		task := &cluster.Task{
			ID: id, ServiceID: s.ID, ServiceName: s.Spec.Name, SpecID: s.SpecID, NodeID: "node1", Slot: 1,
			DesiredState: swarm.TaskStateRunning, Status: swarm.TaskStatus{State: swarm.TaskStateRunning},
		}
		if change != nil {
			change(task)
		}
		store.Tasks.Put(tx, task)
	})
}

// wantError checks a refusal's class and whole text.
func wantError(t *testing.T, err, class error, text string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want %q", text)
	}
	if err.Error() != text {
		t.Errorf("error text\n got %q\nwant %q", err, text)
	}
	if class != nil && !errors.Is(err, class) {
		t.Errorf("error %q is not of class %v", err, class)
	}
}
