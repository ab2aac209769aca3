package controlplane

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
	"shoal/internal/store/storetest"
)

func secret(t *testing.T, c *Control, name, data string) string {
	t.Helper()
	id, err := c.CreateSecret(t.Context(), swarm.SecretSpec{
		Annotations: swarm.Annotations{Name: name, Labels: map[string]string{"kept": "yes"}}, Data: []byte(data),
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// using is the body of a service that mounts a secret; more is put into it as it is.
func using(service, id, name, more string) string {
	return fmt.Sprintf(`{"Name":%q,"TaskTemplate":{"ContainerSpec":{"Image":"web:v1","Secrets":[{"SecretID":%q,"SecretName":%q,"File":{"Name":"pw"}}]}}%s}`,
		service, id, name, more)
}

func rotated(t *testing.T, c *Control, name, data string) Rotation {
	t.Helper()
	r, err := c.RotateSecret(t.Context(), name, []byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// secretNames are the stored secrets as name=data.
func secretNames(c *Control) map[string]string {
	names := map[string]string{}
	for s := range store.Secrets.All(c.Store.View()) {
		names[s.Spec.Name] = string(s.Spec.Data)
	}
	return names
}

func secretOf(s *cluster.Service) string {
	return s.Spec.TaskTemplate.ContainerSpec.Secrets[0].SecretID
}

func TestRotationMovesServicesInOneTransaction(t *testing.T) {
	c := newControl(t)
	id := secret(t, c, "pw", "one")
	create(t, c, using("web", id, "pw", ""))
	create(t, c, `{"Name":"other"}`)
	before := c.Store.Index()
	r := rotated(t, c, "pw", "two")
	if c.Store.Index() != before+1 {
		t.Errorf("%d transactions, want 1", c.Store.Index()-before)
	}
	if diff := cmp.Diff(Rotation{ID: r.ID, Generation: 2, Services: []string{"web"}}, r); diff != "" || r.ID == id {
		t.Error(diff, r.ID)
	}
	web := serviceNamed(c.Store.View(), "web")
	if secretOf(web) != r.ID || web.PreviousSpecID == web.SpecID || web.PreviousSpec.TaskTemplate.ContainerSpec.Secrets[0].SecretID != id {
		t.Errorf("service after the rotation: %+v", web)
	}
	if diff := cmp.Diff(map[string]string{"pw": "two", "pw.v1": "one"}, secretNames(c)); diff != "" {
		t.Error(diff)
	}
	if got := store.Secrets.Get(c.Store.View(), r.ID).Spec.Labels["kept"]; got != "yes" {
		t.Error("labels are lost")
	}
	if again := rotated(t, c, "pw", "two"); again.ID != r.ID || len(again.Services) != 0 {
		t.Errorf("the same data again: %+v", again)
	}
}

// TestEarlierGenerationGoes when neither a service, nor its previous spec, nor a task that has not ended needs it.
func TestEarlierGenerationGoes(t *testing.T) {
	c := newControl(t)
	id := secret(t, c, "pw", "one")
	web := create(t, c, using("web", id, "pw", ""))
	putTask(t, c, web, "task1", nil)
	rotated(t, c, "pw", "two")
	rotated(t, c, "pw", "three")
	if diff := cmp.Diff(map[string]string{"pw": "three", "pw.v1": "one", "pw.v2": "two"}, secretNames(c)); diff != "" {
		t.Error("while a task has the first:", diff)
	}
	putTask(t, c, web, "task1", func(task *cluster.Task) { task.Status.State = swarm.TaskStateShutdown })
	storetest.Update(t, c.Store, func(tx *store.Tx) { DropUnusedSpec(tx, web.SpecID) })
	if diff := cmp.Diff(map[string]string{"pw": "three", "pw.v2": "two"}, secretNames(c)); diff != "" {
		t.Error("after the task ended:", diff)
	}
	if store.Specs.Get(c.Store.View(), web.SpecID) == nil {
		t.Error("the spec of a task in the history is gone")
	}
	if err := c.RemoveService(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"pw": "three"}, secretNames(c)); diff != "" {
		t.Error("after the service is gone:", diff)
	}
}

// TestRollbackOfARotation leads back to the earlier generation, and the next rotation moves the service on from there.
func TestRollbackOfARotation(t *testing.T) {
	c := newControl(t)
	id := secret(t, c, "pw", "one")
	create(t, c, using("web", id, "pw", ""))
	r := rotated(t, c, "pw", "two")
	web := update(t, c, `{}`, ServiceUpdate{Rollback: "previous"})
	if secretOf(web) != id {
		t.Fatalf("rolled back to %s, want %s", secretOf(web), id)
	}
	// A client that sends the spec as it is may go on with the name it knows.
	body, err := json.Marshal(web.Spec)
	if err != nil {
		t.Fatal(err)
	}
	update(t, c, string(body), ServiceUpdate{})
	if again := rotated(t, c, "pw", "two"); again.ID != r.ID || !cmp.Equal(again.Services, []string{"web"}) {
		t.Errorf("the same data does not bring the service back: %+v", again)
	}
	if third := rotated(t, c, "pw", "three"); third.Generation != 3 {
		t.Errorf("third generation: %+v", third)
	}
}

func TestRotationOfJobsAndPins(t *testing.T) {
	c := newControl(t)
	id := secret(t, c, "pw", "one")
	create(t, c, using("web", id, "pw", `,"Mode":{"ReplicatedJob":{}}`))
	r := rotated(t, c, "pw", "two")
	job := serviceNamed(c.Store.View(), "web")
	if secretOf(job) != id || job.JobStatus.JobIteration.Index != 0 || len(r.Services) != 0 {
		t.Errorf("a rotation ran the job again: %+v", job.JobStatus)
	}
	create(t, c, using("pinned", id, "pw.v1", ""))
	third := rotated(t, c, "pw", "three")
	if len(third.Services) != 0 || secretOf(serviceNamed(c.Store.View(), "pinned")) != id {
		t.Errorf("a service that names the generation itself was moved: %+v", third)
	}
	body, err := json.Marshal(job.Spec)
	if err != nil {
		t.Fatal(err)
	}
	if job = update(t, c, string(body), ServiceUpdate{}); secretOf(job) != third.ID || job.JobStatus.JobIteration.Index != 1 {
		t.Errorf("the job's next run has secret %s, want %s", secretOf(job), third.ID)
	}
}

func TestRotationRefuses(t *testing.T) {
	c := newControl(t)
	secret(t, c, "pw", "one")
	secret(t, c, "pw.v1", "somebody's own")
	_, err := c.RotateSecret(t.Context(), "no", []byte("x"))
	wantError(t, err, errdefs.ErrNotFound, "secret no not found")
	_, err = c.RotateSecret(t.Context(), "pw", nil)
	wantError(t, err, errdefs.ErrInvalidArgument, "secret data must be larger than 0 and less than 512000 bytes")
	_, err = c.RotateConfig(t.Context(), "pw", make([]byte, maxConfigBytes))
	wantError(t, err, errdefs.ErrInvalidArgument, "config data must be larger than 0 and less than 1024000 bytes")
	rotated(t, c, "pw", "two")
	_, err = c.RotateSecret(t.Context(), "pw.v2", []byte("x"))
	wantError(t, err, errdefs.ErrInvalidArgument, "secret pw.v2 is an earlier generation of pw: rotate pw")
}

func TestRotatedConfig(t *testing.T) {
	c := newControl(t)
	id, err := c.CreateConfig(t.Context(), swarm.ConfigSpec{Annotations: swarm.Annotations{Name: "conf"}, Data: []byte("one")})
	if err != nil {
		t.Fatal(err)
	}
	create(t, c, fmt.Sprintf(`{"TaskTemplate":{"ContainerSpec":{"Image":"web:v1",
		"Configs":[{"ConfigID":%[1]q,"ConfigName":"conf","Runtime":{}}],"Privileges":{"CredentialSpec":{"Config":%[1]q}}}}}`, id))
	r, err := c.RotateConfig(t.Context(), "conf", []byte("two"))
	if err != nil {
		t.Fatal(err)
	}
	got := serviceNamed(c.Store.View(), "web").Spec.TaskTemplate.ContainerSpec
	if got.Configs[0].ConfigID != r.ID || got.Privileges.CredentialSpec.Config != r.ID {
		t.Errorf("references after the rotation: %+v, %+v", got.Configs[0], got.Privileges.CredentialSpec)
	}
}
