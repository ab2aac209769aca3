package engine

import (
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func wish(change func(*Wish)) Wish {
	w := Wish{
		ID: strings.Repeat("a", 64), Config: &container.Config{Cmd: []string{"serve"}, Hostname: "h"}, HostConfig: &container.HostConfig{},
		User: User{Home: "/root"}, Cgroup: "/shoal/x", Namespaces: map[specs.LinuxNamespaceType]string{specs.NetworkNamespace: "/run/netns/x"},
	}
	if change != nil {
		change(&w)
	}
	return w
}

func spec(t *testing.T, change func(*Wish)) *specs.Spec {
	t.Helper()
	s, err := Spec(wish(change))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func kinds(s *specs.Spec) (out []string) {
	for _, n := range s.Linux.Namespaces {
		out = append(out, string(n.Type)+n.Path)
	}
	return out
}

// Each row says what one wish changes, as the text of the value that it lands in.
func TestSpec(t *testing.T) {
	yes, pids, swap := true, int64(50), int64(0)
	for _, c := range []struct {
		name   string
		change func(*Wish)
		got    func(*specs.Spec) any
		want   any
	}{
		{
			"environment", func(w *Wish) { w.Config.Env = []string{"A=b", "PATH=/x", "HOSTNAME"} }, func(s *specs.Spec) any { return s.Process.Env },
			[]string{"PATH=/x", "A=b", "HOME=/root"},
		},
		{"terminal", func(w *Wish) { w.Config.Tty = true }, func(s *specs.Spec) any { return s.Process.Env[2] }, "TERM=xterm"},
		{"entry point", func(w *Wish) { w.Config.Entrypoint = []string{"/e", "x"} }, func(s *specs.Spec) any { return s.Process.Args }, []string{"/e", "x", "serve"}},
		{"init", func(w *Wish) { w.Init = true }, func(s *specs.Spec) any { return s.Process.Args }, []string{"/sbin/docker-init", "--", "serve"}},
		{"namespaces", nil, func(s *specs.Spec) any { return kinds(s) }, []string{"mount", "network/run/netns/x", "uts", "pid", "ipc"}},
		{"unified hierarchy", func(w *Wish) { w.Node.Cgroup2 = true }, func(s *specs.Spec) any { return kinds(s) }, []string{"mount", "network/run/netns/x", "uts", "pid", "ipc", "cgroup"}},
		{"the node's namespaces", func(w *Wish) {
			w.Namespaces = map[specs.LinuxNamespaceType]string{"network": "", "pid": "", "uts": "", "ipc": ""}
		}, func(s *specs.Spec) any { return kinds(s) }, []string{"mount"}},
		{"no hostname in the node's", func(w *Wish) { w.Namespaces["uts"] = "" }, func(s *specs.Spec) any { return s.Hostname }, ""},
		{"low ports", nil, func(s *specs.Spec) any { return s.Linux.Sysctl["net.ipv4.ip_unprivileged_port_start"] }, "0"},
		{"sysctl", func(w *Wish) { w.HostConfig.Sysctls = map[string]string{"net.core.somaxconn": "777"} }, func(s *specs.Spec) any { return s.Linux.Sysctl["net.core.somaxconn"] }, "777"},
		{"half a CPU", func(w *Wish) { w.HostConfig.NanoCPUs = 5e8 }, func(s *specs.Spec) any {
			return []int64{*s.Linux.Resources.CPU.Quota, int64(*s.Linux.Resources.CPU.Period)}
		}, []int64{50000, 100000}},
		{"memory", func(w *Wish) { w.HostConfig.Memory, w.Node.Swap = 64<<20, true }, func(s *specs.Spec) any {
			return []int64{*s.Linux.Resources.Memory.Limit, *s.Linux.Resources.Memory.Swap}
		}, []int64{64 << 20, 128 << 20}},
		{"memory without swap accounting", func(w *Wish) { w.HostConfig.Memory = 64 << 20 }, func(s *specs.Spec) any { return s.Linux.Resources.Memory.Swap == nil }, true},
		{"no swap", func(w *Wish) { w.HostConfig.Memory, w.HostConfig.MemorySwap, w.Node.Swap = 64<<20, 64<<20+swap, true }, func(s *specs.Spec) any { return *s.Linux.Resources.Memory.Swap }, int64(64 << 20)},
		{"pids", func(w *Wish) { w.HostConfig.PidsLimit = &pids }, func(s *specs.Spec) any { return *s.Linux.Resources.Pids.Limit }, int64(50)},
		{"no limits", nil, func(s *specs.Spec) any {
			r := s.Linux.Resources
			return r.CPU == nil && r.Memory == nil && r.Pids == nil
		}, true},
		{"read-only", func(w *Wish) { w.HostConfig.ReadonlyRootfs = true }, func(s *specs.Spec) any { return s.Root.Readonly }, true},
		{"seccomp by default", nil, func(s *specs.Spec) any { return s.Linux.Seccomp.DefaultAction }, specs.ActErrno},
		{"seccomp off", func(w *Wish) { w.HostConfig.SecurityOpt = []string{"seccomp=unconfined"} }, func(s *specs.Spec) any { return s.Linux.Seccomp == nil }, true},
		{"seccomp of one's own", func(w *Wish) {
			w.HostConfig.SecurityOpt = []string{`seccomp={"defaultAction":"SCMP_ACT_ALLOW","syscalls":[]}`}
		}, func(s *specs.Spec) any { return s.Linux.Seccomp.DefaultAction }, specs.ActAllow},
		{"no new privileges", func(w *Wish) { w.HostConfig.SecurityOpt = []string{"no-new-privileges"} }, func(s *specs.Spec) any { return s.Process.NoNewPrivileges }, true},
		{"new privileges by default", nil, func(s *specs.Spec) any { return s.Process.NoNewPrivileges }, false},
		{"masked paths", nil, func(s *specs.Spec) any { return slices.Contains(s.Linux.MaskedPaths, "/proc/kcore") }, true},
		{"no masked paths", func(w *Wish) { w.HostConfig.MaskedPaths = []string{} }, func(s *specs.Spec) any { return len(s.Linux.MaskedPaths) }, 0},
		{"privileged", func(w *Wish) { w.HostConfig.Privileged = true }, func(s *specs.Spec) any {
			return s.Linux.Seccomp == nil && len(s.Linux.MaskedPaths) == 0 && len(s.Process.Capabilities.Bounding) > 35 && s.Linux.Resources.Devices[0].Allow
		}, true},
		{"no rlimits by default", nil, func(s *specs.Spec) any { return len(s.Process.Rlimits) }, 0},
		{"out-of-memory score", func(w *Wish) { w.HostConfig.OomScoreAdj = 5 }, func(s *specs.Spec) any { return *s.Process.OOMScoreAdj }, 5},
		{"OOM killer off", func(w *Wish) { w.HostConfig.OomKillDisable = &yes }, func(s *specs.Spec) any { return *s.Linux.Resources.Memory.DisableOOMKiller }, true},
		{"cgroup read-only", nil, func(s *specs.Spec) any { return mountAt(s, "/sys/fs/cgroup").Options[0] }, "ro"},
		{"no tmpfs on /run", nil, func(s *specs.Spec) any { return mountAt(s, "/run").Type }, ""},
		{"shared memory", func(w *Wish) { w.HostConfig.ShmSize = 1 << 20 }, func(s *specs.Spec) any { return slices.Contains(mountAt(s, "/dev/shm").Options, "size=1048576") }, true},
		{"parents before children", func(w *Wish) {
			w.Mounts = []specs.Mount{{Destination: "/a/b/c"}, {Destination: "/a"}, {Destination: "/a/b"}}
		}, func(s *specs.Spec) any {
			n := len(s.Mounts)
			return []string{s.Mounts[n-3].Destination, s.Mounts[n-2].Destination, s.Mounts[n-1].Destination}
		}, []string{"/a", "/a/b", "/a/b/c"}},
		{"one's own mount in place of the kernel's", func(w *Wish) { w.Mounts = []specs.Mount{{Destination: "/dev/shm", Type: "bind"}} }, func(s *specs.Spec) any { return mountAt(s, "/dev/shm").Type }, "bind"},
	} {
		if d := cmp.Diff(c.want, c.got(spec(t, c.change))); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

func mountAt(s *specs.Spec, path string) specs.Mount {
	for _, m := range s.Mounts {
		if m.Destination == path {
			return m
		}
	}
	return specs.Mount{}
}

func TestSpecRefuses(t *testing.T) {
	for want, change := range map[string]func(*Wish){
		"no command specified":                       func(w *Wish) { w.Config.Cmd = nil },
		"it needs to be an absolute path":            func(w *Wish) { w.Config.WorkingDir = "x" },
		`invalid CapAdd: unknown capability: "FLY"`:  func(w *Wish) { w.HostConfig.CapAdd = []string{"FLY"} },
		"Minimum memory limit allowed is 6MB":        func(w *Wish) { w.HostConfig.Memory = 1 },
		"Minimum memoryswap limit should be larger":  func(w *Wish) { w.HostConfig.Memory, w.HostConfig.MemorySwap = 64<<20, 32<<20 },
		"not allowed in host network namespace":      func(w *Wish) { w.Namespaces["network"] = ""; w.HostConfig.Sysctls = map[string]string{"net.x": "1"} },
		"conflicting options: Nano CPUs":             func(w *Wish) { w.HostConfig.NanoCPUs, w.HostConfig.CPUQuota = 1e9, 5000 },
		`invalid --security-opt 2: "nonsense"`:       func(w *Wish) { w.HostConfig.SecurityOpt = []string{"nonsense"} },
		"seccomp profile":                            func(w *Wish) { w.HostConfig.SecurityOpt = []string{"seccomp={"} },
		"invalid device cgroup rule format: 'c 1 r'": func(w *Wish) { w.HostConfig.DeviceCgroupRules = []string{"c 1 r"} },
	} {
		if _, err := Spec(wish(change)); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

// Equal wishes give equal specs.
func TestSpecIsPure(t *testing.T) {
	change := func(w *Wish) {
		w.HostConfig.Sysctls = map[string]string{"a": "1", "b": "2", "c": "3"}
		w.Mounts = []specs.Mount{{Destination: "/b"}, {Destination: "/a"}}
	}
	for range 20 {
		if d := cmp.Diff(spec(t, change), spec(t, change)); d != "" {
			t.Fatal(d)
		}
	}
}

func TestCapabilities(t *testing.T) {
	for _, c := range []struct {
		add, drop []string
		has, not  string
		n         int
	}{
		{nil, nil, "CAP_CHOWN", "CAP_SYS_ADMIN", 14},
		{[]string{"sys_nice"}, []string{"NET_RAW"}, "CAP_SYS_NICE", "CAP_NET_RAW", 14},
		{nil, []string{"ALL"}, "", "CAP_CHOWN", 0},
		{[]string{"CHOWN"}, []string{"all"}, "CAP_CHOWN", "CAP_KILL", 1},
		{[]string{"ALL"}, []string{"SYS_ADMIN"}, "CAP_BPF", "CAP_SYS_ADMIN", 40},
	} {
		got, err := capabilities(c.add, c.drop, false)
		if err != nil || len(got) != c.n || c.has != "" && !slices.Contains(got, c.has) || slices.Contains(got, c.not) {
			t.Errorf("+%v -%v: %d %v %v", c.add, c.drop, len(got), got, err)
		}
	}
}

func TestMerge(t *testing.T) {
	image := dockerspec.DockerOCIImageConfig{ImageConfig: ocispec.ImageConfig{
		User: "u", WorkingDir: "/w", Env: []string{"A=1", "B=2"},
		Entrypoint: []string{"/entry"}, Cmd: []string{"arg"}, Labels: map[string]string{"l": "1", "m": "1"}, StopSignal: "SIGINT", Volumes: map[string]struct{}{"/v": {}},
	}}
	image.Healthcheck = &container.HealthConfig{Test: []string{"CMD", "x"}, Interval: 5e9, Retries: 7}
	type out struct {
		Entrypoint, Cmd, Env []string
		Label, User          string
	}
	for _, c := range []struct {
		name string
		in   container.Config
		want out
	}{
		{"all from the image", container.Config{}, out{[]string{"/entry"}, []string{"arg"}, []string{"A=1", "B=2"}, "1", "u"}},
		{"own command", container.Config{Cmd: []string{"mine"}, Env: []string{"B=3", "C=4"}}, out{[]string{"/entry"}, []string{"mine"}, []string{"A=1", "B=3", "C=4"}, "1", "u"}},
		{"own entry point takes the command away", container.Config{Entrypoint: []string{"/mine"}, User: "me"}, out{[]string{"/mine"}, nil, []string{"A=1", "B=2"}, "1", "me"}},
		{"no entry point", container.Config{Entrypoint: []string{""}, Cmd: []string{"x"}, Labels: map[string]string{"l": "2"}}, out{nil, []string{"x"}, []string{"A=1", "B=2"}, "2", "u"}},
	} {
		got := Merge(&c.in, image)
		if d := cmp.Diff(c.want, out{got.Entrypoint, got.Cmd, got.Env, got.Labels["l"], got.User}); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
		if got.Labels["m"] != "1" || len(got.Volumes) != 1 || got.StopSignal != "SIGINT" || got.Healthcheck.Retries != 7 {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
	h := Merge(&container.Config{Healthcheck: &container.HealthConfig{Interval: 1e9}}, image).Healthcheck
	if h.Test[1] != "x" || h.Interval != 1e9 || image.Healthcheck.Interval != 5e9 {
		t.Errorf("%+v", h)
	}
}

func TestMountings(t *testing.T) {
	got, err := mountings(&container.Config{Volumes: map[string]struct{}{"/img": {}, "/own/": {}}}, &container.HostConfig{
		Binds: []string{"/src:/b:ro,rslave", "vol:/own", "/anon"},
		Mounts: []mount.Mount{
			{Type: "tmpfs", Target: "/t", TmpfsOptions: &mount.TmpfsOptions{SizeBytes: 1048576, Mode: 0o1777}},
			{Type: "volume", Source: "v2", Target: "/v2", VolumeOptions: &mount.VolumeOptions{NoCopy: true}},
		},
		Tmpfs: map[string]string{"/t2": "exec"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var text []string
	for _, m := range got {
		s := m.spec("<" + m.Source + ">")
		text = append(text, string(m.Type)+" "+m.Target+" "+s.Source+" "+strings.Join(s.Options, ","))
	}
	if d := cmp.Diff([]string{
		"volume /anon <> rbind,rprivate",
		"bind /b </src> rbind,rslave,ro,rro",
		"volume /img <> rbind,rprivate",
		"volume /own <vol> rbind,rprivate",
		"tmpfs /t tmpfs noexec,nosuid,nodev,size=1048576,mode=1777",
		"tmpfs /t2 tmpfs nosuid,nodev,exec",
		"volume /v2 <v2> rbind,rprivate",
	}, text); d != "" {
		t.Error(d)
	}
	for want, h := range map[string]container.HostConfig{
		"Duplicate mount point: /a":          {Binds: []string{"/x:/a", "/y:/a"}},
		"destination can't be '/'":           {Binds: []string{"/x:/"}},
		"must be absolute":                   {Binds: []string{"/x:a"}},
		"invalid mode: purple":               {Binds: []string{"/x:/a:purple"}},
		"invalid volume specification":       {Binds: []string{"/x:/a:ro:z"}},
		"includes invalid characters":        {Binds: []string{"a/b:/a"}},
		"field Target must not be empty":     {Mounts: []mount.Mount{{Type: "bind", Source: "/x"}}},
		"field Source must not be specified": {Mounts: []mount.Mount{{Type: "tmpfs", Source: "/x", Target: "/y"}}},
		"not supported":                      {Mounts: []mount.Mount{{Type: "npipe", Source: "/x", Target: "/y"}}},
		"subpath must be a relative path":    {Mounts: []mount.Mount{{Type: "volume", Source: "vv", Target: "/y", VolumeOptions: &mount.VolumeOptions{Subpath: "../x"}}}},
	} {
		if _, err := mountings(&container.Config{}, &h); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}
