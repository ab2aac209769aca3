package playground

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// hierarchy is one mounted control group file system.
type hierarchy struct {
	path string
	v2   bool
	opts string // what to mount it again with: controllers, or a name
}

// hierarchies reads them from /proc/mounts. A host has one (version 2), about ten (version 1), or both ways beside each other.
func hierarchies() ([]hierarchy, error) {
	b, err := os.ReadFile("/proc/mounts")
	if err != nil {
		return nil, err
	}
	return parseHierarchies(string(b)), nil
}

func parseHierarchies(mounts string) []hierarchy {
	var out []hierarchy
	for line := range strings.Lines(mounts) {
		f := strings.Fields(line)
		if len(f) < 4 || (f[2] != "cgroup" && f[2] != "cgroup2") {
			continue
		}
		h := hierarchy{path: f[1], v2: f[2] == "cgroup2"}
		var keep []string
		for o := range strings.SplitSeq(f[3], ",") {
			switch name, _, _ := strings.Cut(o, "="); name {
			case "rw", "ro", "relatime", "noatime", "nosuid", "nodev", "noexec", "seclabel", "release_agent", "nsdelegate", "memory_recursiveprot", "favordynmods":
			default:
				keep = append(keep, o)
			}
		}
		h.opts = strings.Join(keep, ",")
		out = append(out, h)
	}
	return out
}

// pure says whether the host has control groups of version 2 alone.
func pure(hs []hierarchy) bool { return len(hs) == 1 && hs[0].v2 }

// makeGroup makes parent and parent/name in every hierarchy.
func makeGroup(parent, name string) error {
	hs, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range hs {
		for _, dir := range []string{filepath.Join(h.path, parent), filepath.Join(h.path, parent, name)} {
			if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("control group: %w", err)
			}
			if err := h.open(dir); err != nil {
				return fmt.Errorf("control group %s: %w", dir, err)
			}
		}
	}
	return nil
}

// open lets a new group be used: version 1 wants a cpuset before the first process, version 2 wants the parent to hand its
// controllers down.
func (h hierarchy) open(dir string) error {
	if h.v2 {
		return handDown(filepath.Dir(dir))
	}
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		b, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, file), bytes.TrimSpace(b), 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// handDown enables in the children of dir every controller that dir has. One that the kernel refuses (a real-time process in
// the way of "cpu") is left out.
func handDown(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for c := range strings.FieldsSeq(string(b)) {
		err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0o644)
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENOTSUP) {
			return err
		}
	}
	return nil
}

// joinGroup moves process pid into the group in every hierarchy.
func joinGroup(group string, pid int) error {
	hs, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range hs {
		file := filepath.Join(h.path, group, "cgroup.procs")
		if err := os.WriteFile(file, []byte(strconv.Itoa(pid)), 0o644); err != nil {
			return fmt.Errorf("control group: %w", err)
		}
	}
	return nil
}

// removeGroup removes the group and everything below it, where it is. A process that has just been killed leaves its group a
// moment later than its PID namespace, so a busy group is asked again for a while.
func removeGroup(group string) error {
	hs, err := hierarchies()
	if err != nil {
		return err
	}
	deadline := time.After(5 * time.Second)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		var errs []error
		for _, h := range hs {
			errs = append(errs, removeTree(filepath.Join(h.path, group)))
		}
		if err = errors.Join(errs...); err == nil {
			return nil
		}
		select {
		case <-deadline:
			return err
		case <-tick.C:
		}
	}
}

func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("control group %s: %w", dir, err)
	}
	return nil
}
