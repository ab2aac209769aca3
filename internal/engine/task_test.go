package engine

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

func TestFromTask(t *testing.T) {
	grace, swap := 2500*time.Millisecond, int64(1<<20)
	a := assignment("tid", func(s *swarm.TaskSpec) {
		c := s.ContainerSpec
		c.Hostname, c.Command = "h-{{.Service.Name}}-{{.Task.Slot}}", []string{"/bin/x"}
		c.Env = []string{"NODE={{.Node.Hostname}}/{{.Node.ID}}", "TASK={{.Task.Name}} {{.Task.ID}}", `L={{index .Service.Labels "tier"}}`, "OS={{.Node.Platform.OS}}"}
		c.Mounts = []mount.Mount{{Type: "volume", Source: "vol-{{.Task.Slot}}", Target: "/vol/{{.Service.Name}}", VolumeOptions: &mount.VolumeOptions{
			Labels:       map[string]string{"slot": "{{.Task.Slot}}"},
			DriverConfig: &mount.Driver{Name: "local", Options: map[string]string{"device": ":/export/{{.Task.Slot}}"}},
		}}}
		c.StopGracePeriod, c.StopSignal = &grace, "SIGINT"
		c.Hosts = []string{"10.9.8.7 extra.example alias"}
		c.DNSConfig = &swarm.DNSConfig{Nameservers: []netip.Addr{netip.MustParseAddr("10.98.0.254")}, Search: []string{"example.test"}}
		c.Privileges = &swarm.Privileges{NoNewPrivileges: true, Seccomp: &swarm.SeccompOpts{Mode: swarm.SeccompModeUnconfined}}
		s.Resources = &swarm.ResourceRequirements{Limits: &swarm.Limit{NanoCPUs: 5e8, MemoryBytes: 64 << 20, Pids: 50}, Reservations: &swarm.Resources{MemoryBytes: 1 << 20}, SwapBytes: &swap}
		s.LogDriver = &swarm.Driver{Name: "local", Options: map[string]string{"max-size": "1m"}}
	}, "arg")
	named := func(v string) swarm.GenericResource {
		return swarm.GenericResource{NamedResourceSpec: &swarm.NamedGenericResource{Kind: "gpu", Value: v}}
	}
	a.Task.Generic = []swarm.GenericResource{named("a"), {DiscreteResourceSpec: &swarm.DiscreteGenericResource{Kind: "fast-ssd", Value: 2}}, named("b")}
	a.ServiceLabels = map[string]string{"tier": "back"}
	c, h, err := FromTask(a, "node4")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"DOCKER_RESOURCE_FAST-SSD=2", "DOCKER_RESOURCE_GPU=a,b", "NODE=node4/nodeid", "TASK=web.2.tid tid", "L=back", "OS=linux"}, c.Env); d != "" {
		t.Error(d)
	}
	for what, ok := range map[string]bool{
		"hostname":    c.Hostname == "h-web-2",
		"entry point": c.Entrypoint[0] == "/bin/x" && c.Cmd[0] == "arg",
		"volume":      h.Mounts[0].Source == "vol-2" && a.Spec.ContainerSpec.Mounts[0].Source != "vol-2",
		"volume's target and options": h.Mounts[0].Target == "/vol/web" && h.Mounts[0].VolumeOptions.Labels["slot"] == "2" &&
			h.Mounts[0].VolumeOptions.DriverConfig.Options["device"] == ":/export/2" &&
			a.Spec.ContainerSpec.Mounts[0].VolumeOptions.DriverConfig.Options["device"] != ":/export/2",
		"stop":     *c.StopTimeout == 3 && c.StopSignal == "SIGINT",
		"hosts":    cmp.Equal(h.ExtraHosts, []string{"extra.example:10.9.8.7", "alias:10.9.8.7"}),
		"dns":      h.DNS[0].String() == "10.98.0.254" && h.DNSSearch[0] == "example.test",
		"security": cmp.Equal(h.SecurityOpt, []string{"no-new-privileges=true", "seccomp=unconfined"}),
		"limits":   h.NanoCPUs == 5e8 && h.Memory == 64<<20 && *h.PidsLimit == 50 && h.MemoryReservation == 1<<20 && h.MemorySwap == 65<<20,
		"log":      h.LogConfig.Type == "local" && h.LogConfig.Config["max-size"] == "1m",
		"labels":   c.Labels["com.docker.swarm.service.name"] == "web" && c.Labels["com.docker.swarm.task"] == "" && c.Labels["com.docker.swarm.node.id"] == "nodeid",
		"restart":  h.RestartPolicy.IsNone(),
	} {
		if !ok {
			t.Errorf("%s: %+v %+v", what, c, h)
		}
	}
	a.Task.Slot = 0
	if c, _, _ = FromTask(a, "node4"); c.Hostname != "h-web-nodeid" {
		t.Errorf("slot of a global task: %s", c.Hostname)
	}
}

func TestTemplatesRefuse(t *testing.T) {
	for _, text := range []string{"{{.Nothing}}", "{{", "{{.Task.Foo}}", "{{call .}}", `{{range $i := "x"}}{{end}}{{index .Service.Labels 3}}`} {
		a := assignment("t", func(s *swarm.TaskSpec) { s.ContainerSpec.Hostname = text })
		if _, _, err := FromTask(a, "n"); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "expanding template") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	f.Add("h-{{.Service.Name}}")
	f.Add("{{range .Service.Labels}}x{{end}}{{join \",\" .Task.ID}}")
	f.Fuzz(func(t *testing.T, text string) {
		e := newTemplates(assignment("t", nil), "n")
		if out := e.expand(text); len(out) > maxExpansion && strings.Contains(text, "{{") {
			t.Fatalf("%d bytes", len(out))
		}
	})
}

func TestTaskNetworks(t *testing.T) {
	over := cluster.Attachment{NetworkID: "n1"}
	for _, c := range []struct {
		in   []cluster.Attachment
		own  string
		over int
	}{
		{nil, "bridge", 0}, {[]cluster.Attachment{over}, "", 1}, {[]cluster.Attachment{{NetworkID: "host"}}, "host", 0}, {[]cluster.Attachment{{NetworkID: "bridge"}, over}, "bridge", 1},
	} {
		own, overlays := taskNetworks(cluster.Task{Attachments: c.in})
		if own != c.own || len(overlays) != c.over {
			t.Errorf("%v: %s %d", c.in, own, len(overlays))
		}
	}
}

func TestTaskFiles(t *testing.T) {
	a := assignment("t", func(s *swarm.TaskSpec) {
		s.ContainerSpec.Env = []string{"KEY=value"}
		s.ContainerSpec.Configs = []*swarm.ConfigReference{{ConfigID: "c", File: &swarm.ConfigReferenceFileTarget{Name: "conf", UID: "7", Mode: 0o440}}}
		s.ContainerSpec.Secrets = []*swarm.SecretReference{{SecretID: "s", SecretName: "key", File: &swarm.SecretReferenceFileTarget{Name: "key"}}}
	})
	known := cluster.Secrets{Secrets: []cluster.Secret{{Secret: swarm.Secret{ID: "s", Spec: swarm.SecretSpec{Data: []byte("{{x")}}}}, Configs: []cluster.Config{{Config: swarm.Config{
		ID:   "c",
		Spec: swarm.ConfigSpec{Data: []byte(`{{env "KEY"}} {{secret "key"}} {{.Service.Name}}`), Templating: &swarm.Driver{Name: "golang"}},
	}}}}
	got, err := taskFiles(a, "n", known)
	if err != nil {
		t.Fatal(err)
	}
	want := []file{{target: "/run/secrets/key", data: []byte("{{x")}, {target: "/conf", data: []byte("value {{x web"), uid: 7, mode: 0o440}}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(file{})); d != "" {
		t.Error(d)
	}
	if _, err := taskFiles(a, "n", cluster.Secrets{}); !errdefs.IsNotFound(err) {
		t.Errorf("unknown secret: %v", err)
	}
}

func TestNames(t *testing.T) {
	n := names{
		Hostname: "h", Domainname: "d.test", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.2")},
		Extra: []string{"a:1.2.3.4", "six:fd00::1", "eq=5.6.7.8", "gw:host-gateway"}, Gateway: netip.MustParseAddr("10.0.0.1"), Nameservers: []string{"127.0.0.11"}, Options: resolverOptions,
	}
	if d := cmp.Diff(hostsHead+"1.2.3.4\ta\nfd00::1\tsix\n5.6.7.8\teq\n10.0.0.1\tgw\n10.0.0.2\th.d.test h\n", n.hostsFile("")); d != "" {
		t.Error(d)
	}
	base := "nameserver 127.0.0.53\nnameserver 9.9.9.9\nsearch node.test\noptions edns0\n"
	if d := cmp.Diff("nameserver 127.0.0.11\nsearch node.test\noptions ndots:0 timeout:2 attempts:3\n", n.resolvFile(base)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff("nameserver 9.9.9.9\nsearch x.test\noptions edns0\n", names{Search: []string{"x.test"}}.resolvFile(base)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff("nameserver 127.0.0.53\nnameserver 9.9.9.9\noptions edns0\n", names{HostNetwork: true, Search: []string{"."}}.resolvFile(base)); d != "" {
		t.Error(d)
	}
}

func TestRestarts(t *testing.T) {
	for _, c := range []struct {
		policy  container.RestartPolicyMode
		max, n  int
		code    int
		stopped bool
		want    bool
	}{
		{"no", 0, 0, 1, false, false},
		{"always", 0, 99, 0, false, true},
		{"always", 0, 0, 0, true, false},
		{"unless-stopped", 0, 0, 0, false, true},
		{"on-failure", 0, 5, 1, false, true},
		{"on-failure", 0, 0, 0, false, false},
		{"on-failure", 2, 1, 1, false, true},
		{"on-failure", 2, 2, 1, false, false},
	} {
		rec := Record{HostConfig: &container.HostConfig{RestartPolicy: container.RestartPolicy{Name: c.policy, MaximumRetryCount: c.max}}, State: State{Restarts: c.n, Stopped: c.stopped}}
		if got := restarts(rec, c.code); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
	if pauseBefore(0) != 100*time.Millisecond || pauseBefore(3) != 800*time.Millisecond || pauseBefore(1000) != time.Minute {
		t.Error(pauseBefore(0), pauseBefore(3), pauseBefore(1000))
	}
}

func TestJudge(t *testing.T) {
	cfg := container.HealthConfig{Retries: 2, StartPeriod: 10 * time.Second}
	h := container.Health{Status: container.Starting}
	for i, step := range []struct {
		code   int
		age    time.Duration
		status container.HealthStatus
		streak int
	}{
		{1, time.Second, container.Starting, 0},
		{1, 9 * time.Second, container.Starting, 0},
		{1, 11 * time.Second, container.Starting, 1},
		{0, 12 * time.Second, container.Healthy, 0},
		{-1, 13 * time.Second, container.Healthy, 1},
		{1, 14 * time.Second, container.Unhealthy, 2},
		{0, 15 * time.Second, container.Healthy, 0},
	} {
		h = judge(cfg, h, container.HealthcheckResult{ExitCode: step.code}, step.age)
		if h.Status != step.status || h.FailingStreak != step.streak || len(h.Log) > probesKept {
			t.Fatalf("step %d: %+v", i, h)
		}
	}
	// A success in the start period ends it.
	h = judge(cfg, container.Health{Status: container.Starting}, container.HealthcheckResult{}, time.Second)
	if h = judge(cfg, h, container.HealthcheckResult{ExitCode: 1}, 2*time.Second); h.FailingStreak != 1 {
		t.Fatalf("%+v", h)
	}
	if d := nextProbe(cfg, container.Health{Status: container.Starting}, time.Second); d != probeStartInterval {
		t.Error(d)
	}
	if d := nextProbe(cfg, container.Health{Status: container.Healthy}, time.Second); d != probeInterval {
		t.Error(d)
	}
}
