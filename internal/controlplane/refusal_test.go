package controlplane

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// TestServiceRefusals holds every refusal of a service spec to its class and words, and to storing nothing.
func TestServiceRefusals(t *testing.T) {
	invalid, notFound := errdefs.ErrInvalidArgument, errdefs.ErrNotFound
	task := func(s string) string { return `{"TaskTemplate":{` + s + `}}` }
	ctr := func(s string) string { return task(`"ContainerSpec":{"Image":"web:v1",` + s + `}`) }
	for _, tt := range []struct {
		name, body string
		class      error
		want       string
	}{
		{"bad name", `{"Name":"bad name!"}`, invalid, "name must be valid as a DNS name component"},
		{"name with a dot", `{"Name":"a.b"}`, invalid, "name must be valid as a DNS name component"},
		{"long name", `{"Name":"` + strings.Repeat("a", 64) + `"}`, invalid, "name must be 63 characters or fewer"},
		{"name taken", `{"Name":"taken"}`, errdefs.ErrAlreadyExists, "name conflicts with an existing object: service taken already exists"},

		{"no container", `{"TaskTemplate":{"ContainerSpec":null}}`, invalid, "TaskSpec: missing runtime"},
		{"no image", ctr(`"Image":""`), invalid, "ContainerSpec: image reference must be provided"},
		{"bad image", ctr(`"Image":"UPPER::x"`), invalid, `ContainerSpec: "UPPER::x" is not a valid repository/tag`},
		{"plugin", task(`"Runtime":"plugin","ContainerSpec":null,"PluginSpec":{}`), errdefs.ErrNotImplemented, "services of plugins are not supported: use a container image"},
		{"attachment", task(`"Runtime":"attachment"`), invalid, `invalid task spec: spec type "attachment" not supported`},
		{"unknown runtime", task(`"Runtime":"wasm"`), invalid, `unsupported runtime type: "wasm"`},

		{"cpu limit", task(`"Resources":{"Limits":{"NanoCPUs":100000}}`), invalid, "invalid cpu value 0.0001: Must be at least 0.001"},
		{"cpu reservation", task(`"Resources":{"Reservations":{"NanoCPUs":-5}}`), invalid, "invalid cpu value -5e-09: Must be at least 0.001"},
		{"memory limit", task(`"Resources":{"Limits":{"MemoryBytes":1048576}}`), invalid, "invalid memory value 1048576: Must be at least 4MiB"},
		{"memory reservation", task(`"Resources":{"Reservations":{"MemoryBytes":4194303}}`), invalid, "invalid memory value 4194303: Must be at least 4MiB"},
		{"pids", task(`"Resources":{"Limits":{"Pids":-1}}`), invalid, "invalid pids limit -1: must not be negative"},
		{"named resource", task(`"Resources":{"Reservations":{"GenericResources":[{"NamedResourceSpec":{"Kind":"gpu","Value":"a"}}]}}`), invalid, "invalid argument for resource gpu"},
		{"swap alone", task(`"Resources":{"SwapBytes":5}`), invalid, "memory swap limit can only be used together with a memory limit"},
		{"swappiness", task(`"Resources":{"MemorySwappiness":101}`), invalid, "invalid memory swappiness 101: must be between 0 and 100, or -1 to unset"},

		{"restart condition", task(`"RestartPolicy":{"Condition":"sometimes"}`), invalid, `invalid RestartCondition: "sometimes"`},
		{"restart delay", task(`"RestartPolicy":{"Delay":-1}`), invalid, "TaskSpec: restart-delay cannot be negative"},
		{"restart window", task(`"RestartPolicy":{"Window":-1}`), invalid, "TaskSpec: restart-window cannot be negative"},
		{"preference", task(`"Placement":{"Preferences":[{}]}`), invalid, "invalid placement preference: only spread=<label> is known"},

		{"mount twice", ctr(`"Mounts":[{"Type":"volume","Target":"/a"},{"Type":"tmpfs","Target":"/a/"}]`), invalid, "ContainerSpec: duplicate mount point: /a/"},
		{"mount target", ctr(`"Mounts":[{"Type":"volume","Target":"a"}]`), invalid, "invalid mount target, must be an absolute path: a"},
		{"mount no target", ctr(`"Mounts":[{"Type":"volume"}]`), invalid, "invalid mount target, must not be empty"},
		{"mount over root", ctr(`"Mounts":[{"Type":"tmpfs","Target":"/x/.."}]`), invalid, "invalid mount target: destination can't be '/'"},
		{"bind relative", ctr(`"Mounts":[{"Type":"bind","Source":"a","Target":"/a"}]`), invalid, "invalid bind mount source, must be an absolute path: a"},
		{"bind empty", ctr(`"Mounts":[{"Type":"bind","Target":"/a"}]`), invalid, "invalid bind mount source, source must not be empty"},
		{"volume absolute", ctr(`"Mounts":[{"Type":"volume","Source":"/a","Target":"/a"}]`), invalid, "invalid volume mount source, must not be an absolute path: /a"},
		{"tmpfs source", ctr(`"Mounts":[{"Type":"tmpfs","Source":"/a","Target":"/a"}]`), invalid, "invalid tmpfs source, source must be empty"},
		{"cluster volume", ctr(`"Mounts":[{"Type":"cluster","Source":"a","Target":"/a"}]`), errdefs.ErrNotImplemented, "cluster volumes are not supported: mount a volume of the node"},
		{"mount type", ctr(`"Mounts":[{"Type":"floppy","Target":"/a"}]`), invalid, "invalid mount type: floppy"},
		{"health interval", ctr(`"Healthcheck":{"Interval":1000}`), invalid, "ContainerSpec: Interval in HealthConfig cannot be less than 1ms"},
		{"health start interval", ctr(`"Healthcheck":{"StartInterval":-1}`), invalid, "ContainerSpec: StartInterval in HealthConfig cannot be less than 1ms"},
		{"health retries", ctr(`"Healthcheck":{"Retries":-1}`), invalid, "ContainerSpec: Retries in HealthConfig cannot be negative"},

		{"two modes", `{"Mode":{"Replicated":{},"Global":{}}}`, invalid, "must specify only one service mode"},
		{"negative replicas", `{"Mode":{"Replicated":{"Replicas":18446744073709551615}}}`, invalid, "Number of replicas must be non-negative"},
		{"job with update", `{"Mode":{"ReplicatedJob":{}},"UpdateConfig":{}}`, invalid, "Jobs may not have an update config"},
		{"update delay", `{"UpdateConfig":{"Delay":-1}}`, invalid, "TaskSpec: update-delay cannot be negative"},
		{"update monitor", `{"UpdateConfig":{"Monitor":-1}}`, invalid, "TaskSpec: update-monitor cannot be negative"},
		{"update ratio", `{"UpdateConfig":{"MaxFailureRatio":1.5}}`, invalid, "TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1"},
		{"update action", `{"UpdateConfig":{"FailureAction":"cry"}}`, invalid, "unrecognized update failure action cry"},
		{"rollback action", `{"RollbackConfig":{"FailureAction":"rollback"}}`, invalid, "unrecognized update failure action rollback"},
		{"update order", `{"UpdateConfig":{"Order":"first"}}`, invalid, "unrecognized update order first"},

		{"dnsrr with mesh port", `{"EndpointSpec":{"Mode":"dnsrr","Ports":[{"TargetPort":80}]}}`, invalid, "EndpointSpec: port published with ingress mode can't be used with dnsrr mode"},
		{"port twice", `{"EndpointSpec":{"Ports":[{"TargetPort":80,"PublishedPort":8080},{"TargetPort":81,"PublishedPort":8080}]}}`, invalid, "EndpointSpec: duplicate published ports provided"},
		{"endpoint mode", `{"EndpointSpec":{"Mode":"anycast"}}`, invalid, `invalid ResolutionMode: "anycast"`},
		{"no target port", `{"EndpointSpec":{"Ports":[{"PublishedPort":8080}]}}`, invalid, "invalid target port 0: must be between 1 and 65535"},
		{"port too high", `{"EndpointSpec":{"Ports":[{"TargetPort":80,"PublishedPort":65536}]}}`, invalid, "invalid published port 65536: must be at most 65535"},
		{"port protocol", `{"EndpointSpec":{"Ports":[{"TargetPort":80,"Protocol":"icmp"}]}}`, invalid, `invalid protocol "icmp": must be tcp, udp or sctp`},
		{"port taken", `{"EndpointSpec":{"Ports":[{"TargetPort":80,"PublishedPort":9000}]}}`, invalid, "port '9000' is already in use by service 'taken' (ID) as an ingress port"},
		{"host port taken by mesh", `{"EndpointSpec":{"Ports":[{"TargetPort":80,"PublishedPort":9000,"PublishMode":"host"}]}}`, invalid, "port '9000' is already in use by service 'taken' (ID) as an ingress port"},
		{"mesh port taken by host", `{"EndpointSpec":{"Ports":[{"TargetPort":80,"PublishedPort":9001}]}}`, invalid, "port '9001' is already in use by service 'taken' (ID) as a host-published port"},

		{"unknown network", task(`"Networks":[{"Target":"nosuchnet"}]`), notFound, "network nosuchnet not found"},
		{"ingress network", task(`"Networks":[{"Target":"ingress"}]`), invalid, `Service cannot be explicitly attached to the ingress network "ingress"`},
		{"network twice", task(`"Networks":[{"Target":"host"},{"Target":"host"}]`), invalid, "network host is given more than once"},
		{"unknown secret", ctr(`"Secrets":[{"SecretID":"x","SecretName":"pw","File":{"Name":"pw"}}]`), invalid, "secret not found: pw"},
		{"unknown secrets", ctr(`"Secrets":[{"SecretID":"x","SecretName":"a","File":{"Name":"a"}},{"SecretID":"y","SecretName":"b","File":{"Name":"b"}}]`), invalid, "secrets not found: a, b"},
		{"secret without ID", ctr(`"Secrets":[{"SecretName":"a","File":{"Name":"a"}}]`), invalid, "malformed secret reference"},
		{"secret without target", ctr(`"Secrets":[{"SecretID":"x","SecretName":"a"}]`), invalid, "malformed secret reference, no target provided"},
		{"secrets at one place", ctr(`"Secrets":[{"SecretID":"x","SecretName":"a","File":{"Name":"f"}},{"SecretID":"y","SecretName":"b","File":{"Name":"f"}}]`), invalid, "secret references 'a' and 'b' have a conflicting target: 'f'"},
		{"unknown config", ctr(`"Configs":[{"ConfigID":"x","ConfigName":"c","File":{"Name":"c"}}]`), invalid, "config not found: c"},
		{"config without target", ctr(`"Configs":[{"ConfigID":"x","ConfigName":"c"}]`), invalid, "malformed config reference, no target provided"},
		{"null references", ctr(`"Secrets":[null]`), invalid, "malformed secret reference"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newControl(t)
			taken := create(t, c, `{"Name":"taken","EndpointSpec":{"Ports":[{"TargetPort":80,"PublishedPort":9000},{"TargetPort":81,"PublishedPort":9001,"PublishMode":"host"}]}}`)
			before := c.Store.Index()
			_, err := c.CreateService(t.Context(), spec(t, tt.body), "")
			wantError(t, err, tt.class, strings.ReplaceAll(tt.want, "(ID)", "("+taken.ID+")"))
			if after := c.Store.Index(); after != before {
				t.Errorf("the refusal moved the store from %d to %d", before, after)
			}
		})
	}
}

func TestConstraintsAreRefused(t *testing.T) {
	c := newControl(t)
	for _, expr := range []string{"node.role", "node.role=manager", "node.role>manager", "==x"} {
		s := spec(t, `{}`)
		s.TaskTemplate.Placement = &swarm.Placement{Constraints: []string{expr}}
		if _, err := c.CreateService(t.Context(), s, ""); !errdefs.IsInvalidArgument(err) {
			t.Errorf("constraint %q: %v, want InvalidArgument", expr, err)
		}
	}
}

func TestUpdateRefusals(t *testing.T) {
	c := newControl(t)
	s := create(t, c, `{}`)
	before := c.Store.Index()
	at := ServiceUpdate{Version: s.Version.Index}
	for _, tt := range []struct {
		name, body string
		how        ServiceUpdate
		class      error
		want       string
	}{
		{"old version", `{}`, ServiceUpdate{Version: s.Version.Index - 1}, nil, "update out of sequence"},
		{"rename", `{"Name":"other"}`, at, errdefs.ErrNotImplemented, "renaming services is not supported"},
		{"mode", `{"Mode":{"Global":{}}}`, at, errdefs.ErrNotImplemented, "service mode change is not allowed"},
		{"spec", `{"UpdateConfig":{"Delay":-1}}`, at, errdefs.ErrInvalidArgument, "TaskSpec: update-delay cannot be negative"},
		{"no previous", `{}`, ServiceUpdate{Version: s.Version.Index, Rollback: "previous"}, errdefs.ErrFailedPrecondition, "service " + s.ID + " does not have a previous spec"},
		{"no previous auth", `{}`, ServiceUpdate{Version: s.Version.Index, AuthFrom: "previous-spec"}, errdefs.ErrFailedPrecondition, "service " + s.ID + " does not have a previous spec"},
		{"auth source", `{}`, ServiceUpdate{Version: s.Version.Index, AuthFrom: "thin air"}, errdefs.ErrInvalidArgument, "unsupported registryAuthFrom value"},
		{"rollback value", `{}`, ServiceUpdate{Version: s.Version.Index, Rollback: "later"}, errdefs.ErrInvalidArgument, `invalid rollback value: "later"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := c.UpdateService(t.Context(), "web", spec(t, tt.body), tt.how)
			wantError(t, err, tt.class, tt.want)
		})
	}
	_, err := c.UpdateService(t.Context(), "nosuch", spec(t, `{}`), at)
	wantError(t, err, errdefs.ErrNotFound, "service nosuch not found")
	wantError(t, c.RemoveService(t.Context(), "nosuch"), errdefs.ErrNotFound, "service nosuch not found")
	if after := c.Store.Index(); after != before {
		t.Errorf("refusals moved the store from %d to %d", before, after)
	}
}

func TestNodeRefusals(t *testing.T) {
	c := newControl(t)
	ctx := t.Context()
	if _, err := c.Store.Update(ctx, func(tx *store.Tx) error {
		store.Nodes.Put(tx, node("node2", swarm.NodeRoleManager))
		w := node("node3", swarm.NodeRoleWorker)
		w.Spec.Labels = map[string]string{"disk": "ssd"}
		store.Nodes.Put(tx, w)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	version := func(id string) uint64 { return store.Nodes.Get(c.Store.View(), id).Version.Index }
	worker := swarm.NodeSpec{Role: "worker", Availability: "active"}

	wantError(t, c.UpdateNode(ctx, "node3", version("node3"), swarm.NodeSpec{Role: "king", Availability: "active"}), errdefs.ErrInvalidArgument, `invalid Role: "king"`)
	wantError(t, c.UpdateNode(ctx, "node3", version("node3"), swarm.NodeSpec{Role: "worker", Availability: "lazy"}), errdefs.ErrInvalidArgument, `invalid Availability: "lazy"`)
	wantError(t, c.UpdateNode(ctx, "node3", version("node3")-1, worker), nil, "update out of sequence")
	wantError(t, c.UpdateNode(ctx, "nosuch", 1, worker), errdefs.ErrNotFound, "node nosuch not found")
	wantError(t, c.RemoveNode(ctx, "node3", false), errdefs.ErrFailedPrecondition, "node node3 is not down and can't be removed")
	wantError(t, c.RemoveNode(ctx, "node2", true), errdefs.ErrFailedPrecondition, "node node2 is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal")

	c.MayDemote = func(string) bool { return false }
	wantError(t, c.UpdateNode(ctx, "node2", version("node2"), worker), errdefs.ErrFailedPrecondition, "can't remove member from the raft: this would result in a loss of quorum")
	c.MayDemote = nil
	if err := c.UpdateNode(ctx, "host-node2", version("node2"), worker); err != nil {
		t.Fatal(err)
	}
	wantError(t, c.UpdateNode(ctx, "node1", version("node1"), worker), errdefs.ErrFailedPrecondition, "attempting to demote the last manager of the swarm")

	s := create(t, c, `{}`)
	putTask(t, c, s, "task1", func(x *cluster.Task) { x.NodeID = "node3" })
	if err := c.RemoveNode(ctx, "node3", true); err != nil {
		t.Fatal(err)
	}
	v := c.Store.View()
	if _, banned := store.ClusterOf(v).Removed["node3"]; !banned {
		t.Error("the removed node may come back")
	}
	if state := store.Tasks.Get(v, "task1").Status.State; state != swarm.TaskStateOrphaned {
		t.Errorf("the removed node's task is %s, want orphaned", state)
	}
}

func TestBlobRefusals(t *testing.T) {
	c := newControl(t)
	ctx := t.Context()
	secret := func(name string, n int) swarm.SecretSpec {
		return swarm.SecretSpec{Annotations: swarm.Annotations{Name: name}, Data: make([]byte, n)}
	}
	long := strings.Repeat("n", 65)
	badName := "invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]"
	tooBig := "secret data must be larger than 0 and less than 512000 bytes"
	for _, tt := range []struct {
		spec swarm.SecretSpec
		want string
	}{
		{secret("", 1), "name must be provided"},
		{secret("-a", 1), badName},
		{secret(long, 1), badName},
		{secret("pw", 0), tooBig},
		{secret("pw", 512000), tooBig},
		{swarm.SecretSpec{Annotations: swarm.Annotations{Name: "pw"}, Driver: &swarm.Driver{}}, "secret driver must have a name"},
		{swarm.SecretSpec{Annotations: swarm.Annotations{Name: "pw"}, Data: []byte("x"), Templating: &swarm.Driver{Name: "jinja"}}, `template driver "jinja" is not supported: use golang`},
	} {
		_, err := c.CreateSecret(ctx, tt.spec)
		wantError(t, err, errdefs.ErrInvalidArgument, tt.want)
	}
	_, err := c.CreateConfig(ctx, swarm.ConfigSpec{Annotations: swarm.Annotations{Name: "c"}, Data: make([]byte, 1024000)})
	wantError(t, err, errdefs.ErrInvalidArgument, "config data must be larger than 0 and less than 1024000 bytes")

	id, err := c.CreateSecret(ctx, secret("pw", 511999))
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.CreateSecret(ctx, secret("pw", 3))
	wantError(t, err, errdefs.ErrAlreadyExists, "secret pw already exists")

	got, err := c.Secret("pw")
	if err != nil || got.Spec.Data != nil || got.ID != id {
		t.Fatalf("inspect: %v %v, want the secret without its data", got.ID, err)
	}
	version := got.Version.Index
	wantError(t, c.UpdateSecret(ctx, "pw", version, secret("pw", 3)), errdefs.ErrInvalidArgument, "only updates to Labels are allowed")
	wantError(t, c.UpdateSecret(ctx, "pw", version, swarm.SecretSpec{Annotations: swarm.Annotations{Name: "pw2"}}), errdefs.ErrInvalidArgument, "only updates to Labels are allowed")
	wantError(t, c.UpdateSecret(ctx, "pw", version-1, swarm.SecretSpec{Annotations: swarm.Annotations{Name: "pw"}}), nil, "update out of sequence")
	if err := c.UpdateSecret(ctx, id, version, swarm.SecretSpec{Annotations: swarm.Annotations{Name: "pw", Labels: map[string]string{"a": "b"}}}); err != nil {
		t.Fatal(err)
	}

	ref := `"Secrets":[{"SecretID":"` + id + `","SecretName":"pw","File":{"Name":"pw"}}]`
	create(t, c, `{"TaskTemplate":{"ContainerSpec":{"Image":"web:v1",`+ref+`}}}`)
	wantError(t, c.RemoveSecret(ctx, "pw"), errdefs.ErrInvalidArgument, "secret 'pw' is in use by the following service: web")
	create(t, c, `{"Name":"api","TaskTemplate":{"ContainerSpec":{"Image":"web:v1",`+ref+`}}}`)
	err = c.RemoveSecret(ctx, "pw")
	if err == nil || !strings.HasPrefix(err.Error(), "secret 'pw' is in use by the following services: ") {
		t.Errorf("remove of a secret that two use: %v", err)
	}
	for _, name := range []string{"web", "api"} {
		if err := c.RemoveService(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.RemoveSecret(ctx, "pw"); err != nil {
		t.Fatal(err)
	}
	wantError(t, c.RemoveSecret(ctx, "pw"), errdefs.ErrNotFound, "secret pw not found")
}
