package engine

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"shoal/internal/cluster"
	"shoal/internal/shim/wire"
)

// Wish is all that decides a container's OCI spec. Config has been merged with the image's (see [Merge]); what had to be
// looked up on disk or was made by others (users, mounts, namespaces) comes resolved.
type Wish struct {
	ID         string
	Config     *container.Config
	HostConfig *container.HostConfig
	User       User
	Mounts     []specs.Mount // what the container mounts beside /proc, /dev and so on
	Devices    []Device      // HostConfig.Devices, as found on the node
	// Namespaces are paths of namespaces to join, by type. An empty path is the host's namespace; a type that is not
	// named gets a new namespace.
	Namespaces map[specs.LinuxNamespaceType]string
	Cgroup     string     // the container's cgroup below each hierarchy
	Node       Node       // what the node's kernel can do
	Order      wire.Order // for the shim
	Init       bool       // process 1 is the init, mounted by Mounts
}

// User is who runs the container's process.
type User struct {
	UID, GID uint32
	Groups   []uint32
	Home     string
}

// Device is a device of the node that the container may use.
type Device struct {
	specs.LinuxDevice
	Access string // of "rwm"
}

// Node is what matters of the node's kernel.
type Node struct {
	Cgroup2  bool // the unified hierarchy
	Swap     bool // swap can be limited
	Hostname string
}

// Spec returns the OCI spec of a container. It reads nothing but the wish, so equal wishes give equal specs; only the
// seccomp profile follows the machine's architecture and kernel. ErrInvalidArgument: what is asked for cannot be, in
// Docker's words where it has them.
func Spec(w Wish) (*specs.Spec, error) {
	args := command(w.Config)
	if len(args) == 0 {
		return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "no command specified")
	}
	if w.Init {
		args = append([]string{"/sbin/docker-init", "--"}, args...)
	}
	order, err := w.Order.Encode()
	if err != nil {
		return nil, err
	}
	h := w.HostConfig
	s := &specs.Spec{
		Version: specs.Version,
		Root:    &specs.Root{Path: "rootfs", Readonly: h.ReadonlyRootfs},
		Process: &specs.Process{
			Terminal:    w.Config.Tty,
			User:        specs.User{UID: w.User.UID, GID: w.User.GID, AdditionalGids: w.User.Groups, Umask: h.Umask},
			Args:        args,
			Env:         environment(w),
			Cwd:         "/",
			OOMScoreAdj: oomScore(h),
		},
		Annotations: map[string]string{},
		Linux:       &specs.Linux{CgroupsPath: w.Cgroup},
	}
	maps.Copy(s.Annotations, h.Annotations)
	s.Annotations[wire.Annotation] = order
	if w.Config.WorkingDir != "" {
		s.Process.Cwd = w.Config.WorkingDir
	}
	if !strings.HasPrefix(s.Process.Cwd, "/") {
		return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "the working directory '%s' is invalid, it needs to be an absolute path", s.Process.Cwd)
	}
	if w.Config.Tty && h.ConsoleSize[0] > 0 {
		s.Process.ConsoleSize = &specs.Box{Height: h.ConsoleSize[0], Width: h.ConsoleSize[1]}
	}
	for _, step := range []func(*specs.Spec, Wish) error{isolate, sysctls, resources, rlimits, devices, mounts, security} {
		if err := step(s, w); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// command is the entry point and its arguments.
func command(c *container.Config) []string {
	return append(slices.Clone(c.Entrypoint), c.Cmd...)
}

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment puts Docker's variables before the container's own, which win.
func environment(w Wish) []string {
	env := []string{"PATH=" + defaultPath, "HOSTNAME=" + w.Config.Hostname}
	if w.Config.Tty {
		env = append(env, "TERM=xterm")
	}
	env = override(env, w.Config.Env)
	if w.User.Home != "" && !slices.ContainsFunc(env, func(v string) bool { return strings.HasPrefix(v, "HOME=") }) {
		env = append(env, "HOME="+w.User.Home)
	}
	return env
}

// override returns base with the variables of more set; one without "=" is removed.
func override(base, more []string) []string {
	env := slices.Clone(base)
	for _, v := range more {
		name, _, set := strings.Cut(v, "=")
		i := slices.IndexFunc(env, func(old string) bool { return strings.HasPrefix(old, name+"=") })
		switch {
		case i >= 0 && set:
			env[i] = v
		case i >= 0:
			env = slices.Delete(env, i, i+1)
		case set:
			env = append(env, v)
		}
	}
	return env
}

func oomScore(h *container.HostConfig) *int {
	if h.OomScoreAdj == 0 {
		return nil
	}
	return &h.OomScoreAdj
}

// isolate lists the container's namespaces.
func isolate(s *specs.Spec, w Wish) error {
	all := []specs.LinuxNamespaceType{specs.MountNamespace, specs.NetworkNamespace, specs.UTSNamespace, specs.PIDNamespace, specs.IPCNamespace}
	private := w.HostConfig.CgroupnsMode.IsPrivate() || w.HostConfig.CgroupnsMode.IsEmpty() && w.Node.Cgroup2 && !w.HostConfig.Privileged
	if private {
		all = append(all, specs.CgroupNamespace)
	}
	for _, t := range all {
		path, named := w.Namespaces[t]
		if named && path == "" {
			continue // the host's
		}
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: t, Path: path})
	}
	if has(s, specs.UTSNamespace) {
		s.Hostname, s.Domainname = w.Config.Hostname, w.Config.Domainname
	}
	return nil
}

// has says whether the container has a namespace that is not the host's.
func has(s *specs.Spec, t specs.LinuxNamespaceType) bool {
	return slices.ContainsFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == t })
}

// sysctls sets the kernel parameters that were asked for, and Docker's two that let anybody use low ports and ping.
func sysctls(s *specs.Spec, w Wish) error {
	set := map[string]string{}
	own := has(s, specs.NetworkNamespace)
	if own {
		set["net.ipv4.ip_unprivileged_port_start"] = "0"
		set["net.ipv4.ping_group_range"] = "0 2147483647"
	}
	for k, v := range w.HostConfig.Sysctls {
		if strings.HasPrefix(k, "net.") && !own {
			return cluster.Errorf(errdefs.ErrInvalidArgument, "sysctl '%s' not allowed in host network namespace", k)
		}
		set[k] = v
	}
	if len(set) > 0 {
		s.Linux.Sysctl = set
	}
	return nil
}

func rlimits(s *specs.Spec, w Wish) error {
	for _, u := range w.HostConfig.Ulimits {
		if u.Hard != -1 && (u.Soft > u.Hard || u.Soft == -1) {
			return cluster.Errorf(errdefs.ErrInvalidArgument, "ulimit soft limit must be less than or equal to hard limit: %d > %d", u.Soft, u.Hard)
		}
		s.Process.Rlimits = append(s.Process.Rlimits, specs.POSIXRlimit{
			Type: "RLIMIT_" + strings.ToUpper(u.Name), Soft: uint64(u.Soft), Hard: uint64(u.Hard),
		})
	}
	sort.Slice(s.Process.Rlimits, func(i, j int) bool { return s.Process.Rlimits[i].Type < s.Process.Rlimits[j].Type })
	return nil
}

// devices adds the node's devices that the container may use. runc allows null, zero, tty and their like by itself.
func devices(s *specs.Spec, w Wish) error {
	if w.HostConfig.Privileged {
		s.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
	} else {
		s.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}
	}
	for _, d := range w.Devices {
		s.Linux.Devices = append(s.Linux.Devices, d.LinuxDevice)
		if !w.HostConfig.Privileged {
			s.Linux.Resources.Devices = append(s.Linux.Resources.Devices,
				specs.LinuxDeviceCgroup{Allow: true, Type: d.Type, Major: &d.Major, Minor: &d.Minor, Access: d.Access})
		}
	}
	for _, rule := range w.HostConfig.DeviceCgroupRules {
		r, err := deviceRule(rule)
		if err != nil {
			return err
		}
		s.Linux.Resources.Devices = append(s.Linux.Resources.Devices, r)
	}
	return nil
}

// deviceRule reads "c 42:* rwm".
func deviceRule(rule string) (specs.LinuxDeviceCgroup, error) {
	bad := cluster.Errorf(errdefs.ErrInvalidArgument, "invalid device cgroup rule format: '%s'", rule)
	r := specs.LinuxDeviceCgroup{Allow: true}
	f := strings.Fields(rule)
	if len(f) != 3 || !strings.Contains("abc", f[0]) || len(f[0]) != 1 || strings.Trim(f[2], "rwm") != "" {
		return r, bad
	}
	r.Type, r.Access = f[0], f[2]
	major, minor, ok := strings.Cut(f[1], ":")
	for _, n := range []struct {
		text string
		to   **int64
	}{{major, &r.Major}, {minor, &r.Minor}} {
		if n.text == "*" {
			continue
		}
		var v int64
		if _, err := fmt.Sscanf(n.text, "%d", &v); err != nil || !ok {
			return r, bad
		}
		*n.to = &v
	}
	return r, nil
}
