package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"shoal/internal/cluster"
)

// hostDevices looks up the node's devices that a container is given: those named, and all for a privileged one.
func hostDevices(h *container.HostConfig) ([]Device, error) {
	if h.Privileged {
		return devicesUnder("/dev", "/dev", "rwm")
	}
	var out []Device
	for _, m := range h.Devices {
		access := m.CgroupPermissions
		if access == "" {
			access = "rwm"
		}
		if strings.Trim(access, "rwm") != "" {
			return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "invalid device mode: %s", access)
		}
		if m.PathInContainer == "" {
			m.PathInContainer = m.PathOnHost
		}
		host, err := filepath.EvalSymlinks(m.PathOnHost)
		if err != nil {
			return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "error gathering device information while adding custom device %q: no such file or directory", m.PathOnHost)
		}
		found, err := devicesUnder(host, m.PathInContainer, access)
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "error gathering device information while adding custom device %q: not a device node", m.PathOnHost)
		}
		out = append(out, found...)
	}
	return out, nil
}

// devicesUnder finds the device nodes at or below host and gives them places at or below target.
func devicesUnder(host, target, access string) ([]Device, error) {
	var out []Device
	err := filepath.WalkDir(host, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
			return nil // gone meanwhile
		}
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch d.Name() {
			case "pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts":
				return filepath.SkipDir
			}
			return nil
		}
		if d.Type()&os.ModeDevice == 0 || d.Name() == "console" {
			return nil
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return nil
		}
		kind := "b"
		if st.Mode&unix.S_IFMT == unix.S_IFCHR {
			kind = "c"
		}
		mode := os.FileMode(st.Mode & 0o777)
		rel := strings.TrimPrefix(path, host)
		out = append(out, Device{Access: access, LinuxDevice: specs.LinuxDevice{
			Path: target + rel, Type: kind,
			Major: int64(unix.Major(uint64(st.Rdev))), Minor: int64(unix.Minor(uint64(st.Rdev))), FileMode: &mode, UID: &st.Uid, GID: &st.Gid,
		}})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("devices of the node: %w", err)
	}
	return out, nil
}
