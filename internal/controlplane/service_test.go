package controlplane

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
	"shoal/internal/store/storetest"
)

func update(t testing.TB, c *Control, body string, how ServiceUpdate) *cluster.Service {
	t.Helper()
	s := serviceNamed(c.Store.View(), "web")
	how.Version = s.Version.Index
	if _, err := c.UpdateService(t.Context(), "web", spec(t, body), how); err != nil {
		t.Fatalf("update %s: %v", body, err)
	}
	return serviceNamed(c.Store.View(), "web")
}

func specs(c *Control) (ids []string) {
	for s := range store.Specs.All(c.Store.View()) {
		ids = append(ids, s.ID)
	}
	return ids
}

const v2 = `{"TaskTemplate":{"ContainerSpec":{"Image":"web:v2"}}}`

func TestGeneratedNamesDiffer(t *testing.T) {
	c := newControl(t)
	seen := make(map[string]bool)
	for range 50 {
		s := create(t, c, `{"Name":""}`)
		if err := checkName(s.Spec.Name); err != nil || seen[s.Spec.Name] {
			t.Fatalf("generated name %q: %v, seen before: %v", s.Spec.Name, err, seen[s.Spec.Name])
		}
		seen[s.Spec.Name] = true
	}
}

// TestOnlyTheTemplateMakesASpec: labels, replicas, policy and mesh ports keep the spec; the template and host-mode ports
// do not.
func TestOnlyTheTemplateMakesASpec(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		same       bool
	}{
		{"labels", `{"Labels":{"a":"b"}}`, true},
		{"replicas", `{"Mode":{"Replicated":{"Replicas":7}}}`, true},
		{"policy", `{"UpdateConfig":{"Parallelism":3}}`, true},
		{"mesh port", `{"EndpointSpec":{"Ports":[{"TargetPort":80,"PublishedPort":8080}]}}`, true},
		{"the same said otherwise", `{"TaskTemplate":{"Runtime":"container"}}`, true},
		{"host port", `{"EndpointSpec":{"Ports":[{"TargetPort":80,"PublishedPort":8080,"PublishMode":"host"}]}}`, false},
		{"image", v2, false},
		{"force", `{"TaskTemplate":{"ForceUpdate":1}}`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newControl(t)
			old := create(t, c, `{}`)
			s := update(t, c, tt.body, ServiceUpdate{})
			if same := s.SpecID == old.SpecID; same != tt.same {
				t.Errorf("same spec: %v, want %v", same, tt.same)
			}
			if have := store.Specs.Get(c.Store.View(), s.SpecID); have == nil || SpecID(&have.Task, have.HostPorts) != s.SpecID {
				t.Errorf("the spec is not stored under its digest: %+v", have)
			}
		})
	}
}

func TestUnusedSpecsGo(t *testing.T) {
	c := newControl(t)
	v1 := create(t, c, `{}`).SpecID
	update(t, c, v2, ServiceUpdate{})
	v3 := update(t, c, `{"TaskTemplate":{"ContainerSpec":{"Image":"web:v3"}}}`, ServiceUpdate{})
	if diff := cmp.Diff([]string{v3.SpecID, v3.PreviousSpecID}, specs(c), cmpopts.SortSlices(func(a, b string) bool { return a < b })); diff != "" {
		t.Errorf("specs after two updates (-want +got):\n%s", diff)
	}
	putTask(t, c, v3, "old", func(x *cluster.Task) { x.SpecID = v3.PreviousSpecID })
	if err := c.RemoveService(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{v3.PreviousSpecID}, specs(c)); diff != "" {
		t.Errorf("specs while a task is left (-want +got):\n%s", diff)
	}
	storetest.Update(t, c.Store, func(tx *store.Tx) {
		store.Tasks.Delete(tx, "old")
		DropUnusedSpec(tx, v3.PreviousSpecID)
		DropUnusedSpec(tx, v1)
	})
	if left := specs(c); left != nil {
		t.Errorf("specs left: %v", left)
	}
}

func TestUpdateAndRollback(t *testing.T) {
	c := newControl(t)
	old := create(t, c, `{"Mode":{"Replicated":{"Replicas":3}}}`)
	s := update(t, c, v2, ServiceUpdate{})
	if s.PreviousSpec == nil || s.PreviousSpec.TaskTemplate.ContainerSpec.Image != "web:v1" || s.PreviousSpecID != old.SpecID || s.UpdateStatus != nil {
		t.Fatalf("after the update: previous %+v %s, status %v", s.PreviousSpec, s.PreviousSpecID, s.UpdateStatus)
	}
	back := update(t, c, `{}`, ServiceUpdate{Rollback: "previous"})
	if diff := cmp.Diff(old.Spec, back.Spec); diff != "" || back.SpecID != old.SpecID || back.PreviousSpecID != s.SpecID {
		t.Errorf("rollback gave another spec, %s for %s (-want +got):\n%s", back.SpecID, old.SpecID, diff)
	}
	if back.UpdateStatus == nil || back.UpdateStatus.State != swarm.UpdateStateRollbackStarted || back.UpdateStatus.StartedAt == nil {
		t.Errorf("rollback status: %+v", back.UpdateStatus)
	}
	forth := update(t, c, `{}`, ServiceUpdate{Rollback: "previous"})
	if forth.SpecID != s.SpecID {
		t.Errorf("a second rollback gave %s, want %s", forth.SpecID, s.SpecID)
	}
}

func TestForceAfterARollbackIsANewSpec(t *testing.T) {
	c := newControl(t)
	create(t, c, `{}`)
	forced := update(t, c, `{"TaskTemplate":{"ForceUpdate":1}}`, ServiceUpdate{})
	putTask(t, c, forced, "t1", nil)
	update(t, c, `{}`, ServiceUpdate{Rollback: "previous"})
	if again := update(t, c, `{"TaskTemplate":{"ForceUpdate":1}}`, ServiceUpdate{}); again.SpecID == forced.SpecID {
		t.Errorf("the forced update asks for the spec that the task has already: it would restart nothing")
	}
}

func TestSameSpecWritesNothing(t *testing.T) {
	c := newControl(t)
	s := create(t, c, v2)
	before := c.Store.Index()
	if again := update(t, c, v2, ServiceUpdate{}); again != s || c.Store.Index() != before {
		t.Errorf("the same spec moved version %d to %d", s.Version.Index, again.Version.Index)
	}
	storetest.Update(t, c.Store, func(tx *store.Tx) {
		paused := new(*s)
		paused.UpdateStatus = &swarm.UpdateStatus{State: swarm.UpdateStatePaused}
		store.Services.Put(tx, paused)
	})
	if s := update(t, c, v2, ServiceUpdate{}); s.UpdateStatus != nil {
		t.Errorf("the same spec does not resume a paused update: %+v", s.UpdateStatus)
	}
}

func TestJobRunsAgain(t *testing.T) {
	c := newControl(t)
	s := create(t, c, `{"Mode":{"ReplicatedJob":{"TotalCompletions":4}}}`)
	if *s.Spec.Mode.ReplicatedJob.MaxConcurrent != 1 || s.JobStatus == nil || s.JobStatus.JobIteration.Index != 0 {
		t.Fatalf("new job: %+v %+v", s.Spec.Mode.ReplicatedJob, s.JobStatus)
	}
	if s = update(t, c, `{"Mode":{"ReplicatedJob":{"TotalCompletions":4}}}`, ServiceUpdate{}); s.JobStatus.JobIteration.Index != 1 {
		t.Errorf("iteration %d after an update, want 1", s.JobStatus.JobIteration.Index)
	}
}

func TestRegistryAuth(t *testing.T) {
	c := newControl(t)
	auth := func(id string) string { return store.Specs.Get(c.Store.View(), id).RegistryAuth }
	if _, err := c.CreateService(t.Context(), spec(t, `{}`), "one"); err != nil {
		t.Fatal(err)
	}
	s := update(t, c, v2, ServiceUpdate{})
	if got := auth(s.SpecID); got != "one" {
		t.Errorf("auth after an update without one: %q, want the one before", got)
	}
	s = update(t, c, v2, ServiceUpdate{RegistryAuth: "two"})
	if got := auth(s.SpecID); got != "two" {
		t.Errorf("auth renewed on the same spec: %q, want two", got)
	}
	s = update(t, c, `{"TaskTemplate":{"ContainerSpec":{"Image":"web:v3"}}}`, ServiceUpdate{AuthFrom: swarm.RegistryAuthFromPreviousSpec})
	if got := auth(s.SpecID); got != "one" {
		t.Errorf("auth from the previous spec: %q, want one", got)
	}
	body, err := json.Marshal(serviceOut(s))
	if err != nil || bytes.Contains(body, []byte("two")) || bytes.Contains(body, []byte(`"one"`)) {
		t.Errorf("the API tells the registry auth: %s", body)
	}
}

func TestPortsAndAddressesAreKept(t *testing.T) {
	c := newControl(t)
	s := create(t, c, `{"EndpointSpec":{"Ports":[{"TargetPort":80}]}}`)
	port := s.Endpoint.Ports[0].PublishedPort
	if port < 30000 || port > 32767 || len(s.Endpoint.VirtualIPs) != 2 { // of both families
		t.Fatalf("endpoint: %+v", s.Endpoint)
	}
	after := update(t, c, `{"Labels":{"a":"b"},"EndpointSpec":{"Ports":[{"TargetPort":80}]}}`, ServiceUpdate{})
	if diff := cmp.Diff(s.Endpoint, after.Endpoint, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("a change of labels moved the endpoint (-before +after):\n%s", diff)
	}
}

func TestInsertDefaultsIsForShowAlone(t *testing.T) {
	c := newControl(t)
	create(t, c, `{"TaskTemplate":{"Resources":{"Limits":{"NanoCPUs":1000000000}}}}`)
	full, err := c.Service("web", true)
	if err != nil {
		t.Fatal(err)
	}
	task := full.Spec.TaskTemplate
	if *task.ContainerSpec.StopGracePeriod != DefaultStopGrace || task.RestartPolicy.Condition != "any" || full.Spec.UpdateConfig.Monitor != DefaultMonitor ||
		full.Spec.UpdateConfig.Parallelism != 1 || task.Resources.Limits.NanoCPUs != 1e9 || full.Spec.EndpointSpec.Mode != "vip" {
		t.Errorf("defaults: %+v", full.Spec)
	}
	plain, err := c.Service("web", false)
	if err != nil || plain.Spec.UpdateConfig != nil || plain.Spec.TaskTemplate.ContainerSpec.StopGracePeriod != nil || plain.Spec.TaskTemplate.Resources.Reservations != nil {
		t.Errorf("the stored spec has defaults: %+v %v", plain.Spec, err)
	}
}

func TestServiceFilters(t *testing.T) {
	c := newControl(t)
	a := create(t, c, `{"Name":"web1","Labels":{"tier":"front"}}`)
	create(t, c, `{"Name":"web2","Mode":{"Global":{}}}`)
	create(t, c, `{"Name":"db","Mode":{"ReplicatedJob":{}}}`)
	for _, tt := range []struct {
		filters string
		want    int
	}{
		{``, 3},
		{`{"name":{"web":true}}`, 2},
		{`{"name":["web1","db"]}`, 2},
		{`{"id":["` + a.ID[:6] + `"]}`, 1},
		{`{"label":["tier"]}`, 1},
		{`{"label":["tier=back"]}`, 0},
		{`{"mode":["global","replicated-job"]}`, 2},
		{`{"runtime":["container"]}`, 3},
	} {
		f, err := ParseFilters(tt.filters)
		if err != nil {
			t.Fatal(err)
		}
		if list, err := c.Services(f, false); err != nil || len(list) != tt.want {
			t.Errorf("%s: %d services and %v, want %d", tt.filters, len(list), err, tt.want)
		}
	}
	_, err := c.Services(Filters{"nosuch": {"1"}}, false)
	wantError(t, err, nil, "invalid filter 'nosuch'")
}

func TestServiceStatus(t *testing.T) {
	c := newControl(t)
	s := create(t, c, `{"Mode":{"Replicated":{"Replicas":3}}}`)
	g := create(t, c, `{"Name":"glo","Mode":{"Global":{}}}`)
	putTask(t, c, s, "t1", nil)
	putTask(t, c, s, "t2", func(x *cluster.Task) { x.Status.State = swarm.TaskStateFailed })
	putTask(t, c, g, "t3", nil)
	putTask(t, c, g, "t4", func(x *cluster.Task) { x.Status.State = swarm.TaskStatePending })
	putTask(t, c, g, "t5", func(x *cluster.Task) { x.DesiredState = swarm.TaskStateShutdown })
	list, err := c.Services(nil, true)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]swarm.ServiceStatus{"web": {RunningTasks: 1, DesiredTasks: 3}, "glo": {RunningTasks: 2, DesiredTasks: 2}}
	for _, svc := range list {
		if diff := cmp.Diff(want[svc.Spec.Name], *svc.ServiceStatus); diff != "" {
			t.Errorf("%s (-want +got):\n%s", svc.Spec.Name, diff)
		}
	}
}
