package engine

import (
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/pkg/cap"
	"github.com/containerd/errdefs"
	"github.com/moby/profiles/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"shoal/internal/cluster"
)

// defaultCaps are the capabilities that Docker leaves a container.
var defaultCaps = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
	"CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}

// maskedPaths and readonlyPaths are Docker's: what of /proc and /sys a container may not read, and not write.
var (
	maskedPaths = []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
	}
	readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// security sets capabilities, seccomp, no_new_privs and hidden paths. It runs last: the seccomp profile depends on the
// capabilities.
func security(s *specs.Spec, w Wish) error {
	h := w.HostConfig
	caps, err := capabilities(h.CapAdd, h.CapDrop, h.Privileged)
	if err != nil {
		return err
	}
	s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
	profile, err := securityOptions(s, h.SecurityOpt)
	if err != nil {
		return err
	}
	if h.Privileged {
		return nil
	}
	s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = maskedPaths, readonlyPaths
	if h.MaskedPaths != nil || slices.Contains(h.SecurityOpt, "systempaths=unconfined") {
		s.Linux.MaskedPaths = h.MaskedPaths
	}
	if h.ReadonlyPaths != nil || slices.Contains(h.SecurityOpt, "systempaths=unconfined") {
		s.Linux.ReadonlyPaths = h.ReadonlyPaths
	}
	switch profile {
	case "unconfined":
		return nil
	case "":
		s.Linux.Seccomp, err = seccomp.GetDefaultProfile(s)
		if err == nil {
			// x32 is off in the kernels of the distributions, and compiling the filter for it costs each start 8 ms. A
			// system call by that ABI ends the process instead of being filtered.
			s.Linux.Seccomp.Architectures = slices.DeleteFunc(s.Linux.Seccomp.Architectures, func(a specs.Arch) bool { return a == specs.ArchX32 })
		}
	default:
		s.Linux.Seccomp, err = seccomp.LoadProfile(profile, s)
	}
	if err != nil {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "seccomp profile: %s", err)
	}
	return nil
}

// securityOptions reads --security-opt and returns the seccomp profile: "" for the default, "unconfined", or JSON.
func securityOptions(s *specs.Spec, opts []string) (profile string, err error) {
	for _, o := range opts {
		key, value, found := strings.Cut(o, "=")
		if !found {
			key, value, found = strings.Cut(o, ":")
		}
		switch {
		case key == "no-new-privileges" && (!found || value == "true"):
			s.Process.NoNewPrivileges = true
		case key == "no-new-privileges" && value == "false", key == "label", key == "systempaths", key == "writable-cgroups":
			// labels: without SELinux there is nothing to label; the others are read where they matter
		case key == "seccomp" && found:
			profile = value
			if value == "builtin" {
				profile = ""
			}
		case key == "apparmor" && found:
			if value != "unconfined" {
				s.Process.ApparmorProfile = value
			}
		default:
			return "", cluster.Errorf(errdefs.ErrInvalidArgument, "invalid --security-opt 2: %q", o)
		}
	}
	return profile, nil
}

// capabilities works out the set that add and drop leave of the default. "ALL" stands for every capability; names come
// with and without CAP_, in either case.
func capabilities(add, drop []string, privileged bool) ([]string, error) {
	add, err := capNames("CapAdd", add)
	if err != nil {
		return nil, err
	}
	if drop, err = capNames("CapDrop", drop); err != nil {
		return nil, err
	}
	var base []string
	switch {
	case privileged:
		return cap.Known(), nil
	case slices.Contains(add, "ALL"):
		base, add = cap.Known(), nil
	case slices.Contains(drop, "ALL"):
		drop = nil // and nothing to begin with
	default:
		base = slices.Clone(defaultCaps)
	}
	base = slices.DeleteFunc(base, func(c string) bool { return slices.Contains(drop, c) })
	for _, c := range add {
		if !slices.Contains(base, c) {
			base = append(base, c)
		}
	}
	return base, nil
}

func capNames(option string, names []string) ([]string, error) {
	var out []string
	known := cap.Known()
	for _, n := range names {
		c := strings.ToUpper(n)
		if c != "ALL" && !strings.HasPrefix(c, "CAP_") {
			c = "CAP_" + c
		}
		if c == "CAP_ALL" {
			c = "ALL"
		}
		if c != "ALL" && !slices.Contains(known, c) {
			return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "invalid %s: unknown capability: %q", option, n)
		}
		out = append(out, c)
	}
	return out, nil
}
