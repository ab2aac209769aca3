package playground

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// mountAll builds the machine's view of the file system: the host's, with /proc, /sys, /run and the control groups of its own
// namespaces, and with changes to /etc and /var/lib kept on its own disk.
func (b boot) mountAll() error {
	// The host's mounts are read before its /proc is covered.
	groups, err := hierarchies()
	if err != nil {
		return err
	}
	if err := mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return err
	}
	if err := mount("proc", "/proc", "proc", 0, ""); err != nil {
		return err
	}
	for _, dir := range []string{"/etc", "/var/lib"} {
		if strings.HasPrefix(b.Dir, dir+"/") {
			continue // the disk itself lies there: an overlay would hide it
		}
		if err := b.overlay(dir); err != nil {
			return err
		}
	}
	if err := mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	if err := mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return err
	}
	if err := mountGroups(groups); err != nil {
		return err
	}
	// As an init system leaves it: a container's mounts with propagation "shared" work.
	return mount("", "/", "", unix.MS_SHARED|unix.MS_REC, "")
}

// overlay lets the machine write below dir without changing the host. What it writes is on its disk and outlives a power cut.
func (b boot) overlay(dir string) error {
	name := strings.ReplaceAll(dir[1:], "/", "-")
	upper, work := filepath.Join(b.Dir, "disk", name), filepath.Join(b.Dir, "disk", name+".work")
	for _, d := range []string{upper, work} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	return mount("overlay", dir, "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", dir, upper, work))
}

// mountGroups mounts the same hierarchies at the same places: seen from this cgroup namespace, their roots are the machine's.
func mountGroups(groups []hierarchy) error {
	if pure(groups) {
		if err := mount("cgroup2", groups[0].path, "cgroup2", 0, groups[0].opts); err != nil {
			return err
		}
		// A group of version 2 with controllers handed down holds no process itself: this one goes into a leaf.
		leaf := filepath.Join(groups[0].path, "init")
		if err := os.Mkdir(leaf, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		if err := os.WriteFile(filepath.Join(leaf, "cgroup.procs"), []byte("0"), 0o644); err != nil {
			return err
		}
		return handDown(groups[0].path)
	}
	if len(groups) == 0 {
		return nil
	}
	if err := mount("tmpfs", "/sys/fs/cgroup", "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	for _, g := range groups {
		if err := os.MkdirAll(g.path, 0o755); err != nil {
			return err
		}
		kind := "cgroup"
		if g.v2 {
			kind = "cgroup2"
		}
		if err := mount(kind, g.path, kind, 0, g.opts); err != nil {
			return err
		}
	}
	return nil
}

func mount(source, target, kind string, flags uintptr, data string) error {
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		return fmt.Errorf("mount %s at %s (%s): %w", kind, target, data, err)
	}
	return nil
}
