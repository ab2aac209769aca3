package api_test

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"

	"shoal/internal/api"
)

// TestServiceLife walks a service through the official client.
func TestServiceLife(t *testing.T) {
	r := newRig(t, nil)
	ctx := t.Context()
	id := r.service(t, "web")
	got, err := r.ServiceInspect(ctx, "web", client.ServiceInspectOptions{InsertDefaults: true})
	if err != nil || got.Service.ID != id || got.Service.Spec.UpdateConfig == nil {
		t.Fatalf("inspect: %+v, %v", got.Service, err)
	}
	r.task(t, "task1", id)
	list, err := r.ServiceList(ctx, client.ServiceListOptions{Status: true, Filters: client.Filters{}.Add("name", "we")})
	if err != nil || len(list.Items) != 1 || list.Items[0].ServiceStatus.RunningTasks != 1 {
		t.Errorf("list: %+v, %v", list, err)
	}
	tasks, err := r.TaskList(ctx, client.TaskListOptions{Filters: client.Filters{}.Add("service", id).Add("_up-to-date", "true")})
	if err != nil || len(tasks.Items) != 1 || tasks.Items[0].Spec.ContainerSpec.Image != "web:v1" {
		t.Errorf("tasks: %+v, %v", tasks, err)
	}
	svc, err := r.ServiceInspect(ctx, "web", client.ServiceInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	spec := svc.Service.Spec
	spec.TaskTemplate.ContainerSpec.Image = "web:v2"
	if _, err := r.ServiceUpdate(ctx, "web", client.ServiceUpdateOptions{Version: svc.Service.Version, Spec: spec}); err != nil {
		t.Fatal(err)
	}
	tasks, err = r.TaskList(ctx, client.TaskListOptions{Filters: client.Filters{}.Add("service", id).Add("_up-to-date", "true")})
	if err != nil || len(tasks.Items) != 0 {
		t.Errorf("tasks up to date after the update: %+v, %v", tasks, err)
	}
	if _, err := r.ServiceRemove(ctx, id, client.ServiceRemoveOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestEmptyListsAreLists(t *testing.T) {
	r := newRig(t, nil)
	for _, path := range []string{"/services", "/tasks", "/secrets", "/configs"} {
		if status, body := r.call(t, "GET", path, ""); status != 200 || body != "[]" {
			t.Errorf("GET %s: %d %s, want []", path, status, body)
		}
	}
	if _, body := r.call(t, "POST", "/services/create", `{"TaskTemplate":{"ContainerSpec":{"Image":"a"}}}`); !strings.Contains(body, `"Warnings":[]`) {
		t.Errorf("create: %s, want an empty list of warnings", body)
	}
}

func TestSecretsAndConfigs(t *testing.T) {
	r := newRig(t, nil)
	ctx := t.Context()
	s, err := r.SecretCreate(ctx, client.SecretCreateOptions{Spec: swarm.SecretSpec{Annotations: swarm.Annotations{Name: "pw"}, Data: []byte("hidden")}})
	if err != nil {
		t.Fatal(err)
	}
	if _, body := r.call(t, "GET", "/secrets/pw", ""); strings.Contains(body, "aGlkZGVu") || !strings.Contains(body, s.ID) {
		t.Errorf("secret: %s", body)
	}
	if _, err := r.SecretRemove(ctx, "pw", client.SecretRemoveOptions{}); err != nil {
		t.Error(err)
	}
	c, err := r.ConfigCreate(ctx, client.ConfigCreateOptions{Spec: swarm.ConfigSpec{Annotations: swarm.Annotations{Name: "conf"}, Data: []byte("shown")}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.ConfigInspect(ctx, c.ID, client.ConfigInspectOptions{})
	if err != nil || string(got.Config.Spec.Data) != "shown" {
		t.Errorf("config: %+v, %v", got.Config, err)
	}
}

func TestNetworksOfBothKinds(t *testing.T) {
	r := newRig(t, nil)
	ctx := t.Context()
	over, err := r.NetworkCreate(ctx, "over", client.NetworkCreateOptions{Driver: "overlay"})
	if err != nil {
		t.Fatal(err)
	}
	own, err := r.NetworkCreate(ctx, "own", client.NetworkCreateOptions{Driver: "bridge"})
	if err != nil {
		t.Fatal(err)
	}
	list, err := r.NetworkList(ctx, client.NetworkListOptions{})
	if err != nil || len(list.Items) != 6 {
		t.Errorf("%d networks, %v, want bridge, host, none, own, over and ingress", len(list.Items), err)
	}
	for ref, want := range map[string]string{"over": over.ID, "own": own.ID, over.ID[:8]: over.ID, own.ID[:8]: own.ID} {
		if n, err := r.NetworkInspect(ctx, ref, client.NetworkInspectOptions{}); err != nil || n.Network.ID != want {
			t.Errorf("inspect %s: %v, %v", ref, n.Network.ID, err)
		}
	}
	if n, err := r.NetworkInspect(ctx, "host", client.NetworkInspectOptions{Scope: "swarm"}); err != nil || n.Network.Scope != "swarm" {
		t.Errorf("host in the swarm's scope, for services: %+v, %v", n.Network, err)
	}
	if n, err := r.NetworkInspect(ctx, "host", client.NetworkInspectOptions{}); err != nil || n.Network.Scope != "local" {
		t.Errorf("host: %+v, %v", n.Network, err)
	}
	for _, driver := range []string{"bridge", "overlay"} {
		status, message := r.call(t, "POST", "/networks/create", `{"Name":"over","Driver":"`+driver+`"}`)
		if status != 409 || message != "network with name over already exists" {
			t.Errorf("the name again, %s: %d %s", driver, status, message)
		}
	}
	pruned, err := r.NetworkPrune(ctx, client.NetworkPruneOptions{})
	if err != nil || len(pruned.Report.NetworksDeleted) != 2 {
		t.Errorf("prune: %+v, %v, want own and over", pruned, err)
	}
}

func TestSwarmVerbs(t *testing.T) {
	r := newRig(t, nil)
	ctx := t.Context()
	sw, err := r.SwarmInspect(ctx, client.SwarmInspectOptions{})
	if err != nil || !strings.HasPrefix(sw.Swarm.JoinTokens.Worker, "SWMTKN-1-") {
		t.Fatalf("swarm: %+v, %v", sw, err)
	}
	spec := sw.Swarm.Spec
	spec.EncryptionConfig.AutoLockManagers = true
	if _, err := r.SwarmUpdate(ctx, client.SwarmUpdateOptions{Version: sw.Swarm.Version, Spec: spec, RotateManagerToken: true}); err != nil {
		t.Fatal(err)
	}
	after, err := r.SwarmInspect(ctx, client.SwarmInspectOptions{})
	if err != nil || after.Swarm.JoinTokens.Manager == sw.Swarm.JoinTokens.Manager || after.Swarm.JoinTokens.Worker != sw.Swarm.JoinTokens.Worker {
		t.Errorf("tokens after rotating the managers': %+v, %v", after.Swarm.JoinTokens, err)
	}
	if key, err := r.SwarmGetUnlockKey(ctx); err != nil || !strings.HasPrefix(key.Key, "SWMKEY-1-") {
		t.Errorf("unlock key: %+v, %v", key, err)
	}
	nodes, err := r.NodeList(ctx, client.NodeListOptions{Filters: client.Filters{}.Add("role", "manager")})
	if err != nil || len(nodes.Items) != 1 {
		t.Fatalf("nodes: %+v, %v", nodes, err)
	}
	n := nodes.Items[0]
	n.Spec.Labels = map[string]string{"seen": "yes"}
	if _, err := r.NodeUpdate(ctx, n.ID, client.NodeUpdateOptions{Version: n.Version, Spec: n.Spec}); err != nil {
		t.Fatal(err)
	}
	if got, err := r.NodeInspect(ctx, "host1", client.NodeInspectOptions{}); err != nil || got.Node.Spec.Labels["seen"] != "yes" {
		t.Errorf("node by hostname: %+v, %v", got.Node.Spec, err)
	}
}

// TestOldClientsFields: what came later is not taken from a client that cannot know it.
func TestOldClientsFields(t *testing.T) {
	const body = `{"Name":"NAME","Networks":[{"Target":"host"}],"TaskTemplate":{"Resources":{"Limits":{"MemoryBytes":8388608,"Pids":9},"SwapBytes":-1},
		"ContainerSpec":{"Image":"a","CapabilityAdd":["CAP_SYS_NICE"],"OomScoreAdj":5,"Healthcheck":{"StartInterval":5000000},"Privileges":{"NoNewPrivileges":true},
		"Mounts":[{"Type":"tmpfs","Target":"/t","TmpfsOptions":{"Options":[["exec"]]}}]}}}`
	r := newRig(t, nil)
	for _, tt := range []struct {
		version                                                           string
		caps, pids, startInterval, nnp, oom, tmpfs, swap, topLevelNetwork bool
	}{
		{"1.40", false, false, false, false, false, false, false, true},
		{"1.43", true, true, false, false, false, false, false, true},
		{"1.44", true, true, true, true, false, false, false, false},
		{"1.46", true, true, true, true, true, true, false, false},
		{"1.56", true, true, true, true, true, true, true, false},
	} {
		name := "v" + strings.ReplaceAll(tt.version, ".", "-")
		if status, message := r.call(t, "POST", "/v"+tt.version+"/services/create", strings.Replace(body, "NAME", name, 1)); status != 201 {
			t.Fatalf("%s: %d %s", tt.version, status, message)
		}
		_, text := r.call(t, "GET", "/services/"+name, "")
		var s swarm.Service
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			t.Fatal(err)
		}
		task := s.Spec.TaskTemplate
		c := task.ContainerSpec
		for what, got := range map[string][2]bool{
			"capabilities": {len(c.CapabilityAdd) > 0, tt.caps}, "pids": {task.Resources.Limits.Pids > 0, tt.pids},
			"start interval": {c.Healthcheck.StartInterval > 0, tt.startInterval}, "no new privileges": {c.Privileges.NoNewPrivileges, tt.nnp},
			"OOM score": {c.OomScoreAdj > 0, tt.oom}, "tmpfs options": {len(c.Mounts[0].TmpfsOptions.Options) > 0, tt.tmpfs},
			"swap": {task.Resources.SwapBytes != nil, tt.swap}, "networks at the top": {len(task.Networks) > 0, tt.topLevelNetwork},
		} {
			if got[0] != got[1] {
				t.Errorf("%s: %s taken: %v, want %v", tt.version, what, got[0], got[1])
			}
		}
	}
}

func line(at int64, text string) api.LogLine {
	return api.LogLine{Time: time.Unix(at, 0), Text: []byte(text + "\n")}
}

func TestServiceLogs(t *testing.T) {
	r := newRig(t, nil)
	id := r.service(t, "web")
	r.task(t, "task1", id)
	r.task(t, "task2", id)
	r.logs["task1"] = []api.LogLine{line(1, "one"), line(4, "four")}
	r.logs["task2"] = []api.LogLine{line(2, "two"), {Stderr: true, Time: time.Unix(3, 0), Text: []byte("three\n")}}
	body, err := r.ServiceLogs(t.Context(), "web", client.ServiceLogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true, Details: true})
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if _, err := stdcopy.StdCopy(&stdout, &stderr, body); err != nil {
		t.Fatal(err)
	}
	details := func(task string) string {
		return "com.docker.swarm.node.id=node1,com.docker.swarm.service.id=" + id + ",com.docker.swarm.task.id=" + task
	}
	want := "1970-01-01T00:00:01.000000000Z " + details("task1") + " one\n1970-01-01T00:00:02.000000000Z " + details("task2") + " two\n" +
		"1970-01-01T00:00:04.000000000Z " + details("task1") + " four\n"
	if got := stdout.String(); got != want {
		t.Errorf("stdout\n got %s\nwant %s", got, want)
	}
	if !strings.HasSuffix(stderr.String(), " three\n") {
		t.Errorf("stderr: %s", stderr.String())
	}
	if _, body := r.call(t, "GET", "/tasks/task1/logs?stdout=1&tail=1", ""); body != "\x01\x00\x00\x00\x00\x00\x00\x05four" {
		t.Errorf("the last line: %q", body)
	}
}

// TestLostNodeIsTold: what can be read is read, and then the client hears what could not.
func TestLostNodeIsTold(t *testing.T) {
	r := newRig(t, nil)
	id := r.service(t, "web")
	r.task(t, "task1", id)
	r.task(t, "task2", id)
	r.logs["task1"] = []api.LogLine{line(1, "one")}
	body, err := r.ServiceLogs(t.Context(), "web", client.ServiceLogsOptions{ShowStdout: true})
	if err != nil {
		t.Fatal(err)
	}
	var stdout bytes.Buffer
	_, err = stdcopy.StdCopy(&stdout, io.Discard, body)
	if stdout.String() != "one\n" || err == nil || !strings.Contains(err.Error(), "incomplete log stream") || !strings.Contains(err.Error(), "node node1 is not available") {
		t.Errorf("stdout %q, error %v", stdout.String(), err)
	}
}

// TestFollowSeesNewTasks: a follower of a service hears tasks that are made after it began, and ends with the service.
func TestFollowSeesNewTasks(t *testing.T) {
	r := newRig(t, nil)
	id := r.service(t, "web")
	r.logs["task1"] = []api.LogLine{line(1, "one")}
	body, err := r.ServiceLogs(t.Context(), "web", client.ServiceLogsOptions{ShowStdout: true, Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	r.task(t, "task1", id)
	frame := make([]byte, 8+len("one\n"))
	if _, err := io.ReadFull(body, frame); err != nil || string(frame[8:]) != "one\n" {
		t.Errorf("followed: %q, %v", frame, err)
	}
}
