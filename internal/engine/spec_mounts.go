package engine

import (
	"fmt"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// shmSize is what /dev/shm holds unless something else is asked for, in bytes.
const shmSize = 64 << 20

// mounts puts the kernel's file systems first and the container's own mounts after them, parents before children. A
// mount of the container's own replaces one of the kernel's at the same place.
func mounts(s *specs.Spec, w Wish) error {
	h := w.HostConfig
	ro := "ro"
	cgroup := ro
	if h.Privileged {
		ro, cgroup = "rw", "rw"
	}
	if slices.Contains(h.SecurityOpt, "writable-cgroups=true") {
		cgroup = "rw"
	}
	shm := h.ShmSize
	if shm <= 0 {
		shm = shmSize
	}
	base := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", ro}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{cgroup, "nosuid", "noexec", "nodev"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
	}
	path, named := w.Namespaces[specs.IPCNamespace]
	switch {
	case named && path == "": // the host's IPC: its shared memory too
		base[5] = specs.Mount{Destination: "/dev/mqueue", Type: "bind", Source: "/dev/mqueue", Options: []string{"rbind", "nosuid", "noexec", "nodev"}}
		base = append(base, specs.Mount{Destination: "/dev/shm", Type: "bind", Source: "/dev/shm", Options: []string{"rbind", "rprivate"}})
	case !h.IpcMode.IsNone():
		base = append(base, specs.Mount{
			Destination: "/dev/shm", Type: "tmpfs", Source: "shm",
			Options: []string{"nosuid", "noexec", "nodev", "mode=1777", fmt.Sprintf("size=%d", shm)},
		})
	}
	own := slices.Clone(w.Mounts)
	slices.SortStableFunc(own, func(a, b specs.Mount) int {
		return cmpOr(depth(a.Destination)-depth(b.Destination), strings.Compare(a.Destination, b.Destination))
	})
	for _, b := range base {
		if !slices.ContainsFunc(own, func(m specs.Mount) bool { return m.Destination == b.Destination }) {
			s.Mounts = append(s.Mounts, b)
		}
	}
	s.Mounts = append(s.Mounts, own...)
	s.Linux.RootfsPropagation = propagation(own)
	return nil
}

func depth(path string) int { return strings.Count(strings.TrimRight(path, "/"), "/") }

// propagation is what the root must have for its mounts to pass theirs on.
func propagation(own []specs.Mount) string {
	p := ""
	for _, m := range own {
		switch {
		case slices.Contains(m.Options, "rshared") || slices.Contains(m.Options, "shared"):
			return "shared"
		case slices.Contains(m.Options, "rslave") || slices.Contains(m.Options, "slave"):
			p = "slave"
		}
	}
	return p
}
