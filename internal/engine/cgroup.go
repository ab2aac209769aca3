package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const cgroupRoot = "/sys/fs/cgroup"

// cgroup is where a process is in the kernel's hierarchies.
type cgroup struct {
	unified bool              // version 2 alone
	dirs    map[string]string // by controller; "" is version 2's
}

// cgroupOf reads where a process is. A machine counts as version 2 when /sys/fs/cgroup itself is, as runc decides it.
func cgroupOf(pid int) (cgroup, error) {
	g := cgroup{dirs: map[string]string{}}
	if pid <= 0 {
		return g, os.ErrProcessDone
	}
	var st unix.Statfs_t
	if err := unix.Statfs(cgroupRoot, &st); err != nil {
		return g, fmt.Errorf("%s: %w", cgroupRoot, err)
	}
	g.unified = st.Type == unix.CGROUP2_SUPER_MAGIC
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cgroup"))
	if err != nil {
		return g, err
	}
	for line := range strings.Lines(string(b)) { // number:controllers:path, cgroups(7)
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 {
			continue
		}
		for c := range strings.SplitSeq(f[1], ",") {
			g.dirs[c] = f[2]
		}
	}
	return g, nil
}

// path is the directory of a controller.
func (g cgroup) path(controller string) string {
	if g.unified {
		return filepath.Join(cgroupRoot, g.dirs[""])
	}
	return filepath.Join(cgroupRoot, controller, g.dirs[controller])
}

// number reads a file of one number; 0: there is none, or it says "max".
func (g cgroup) number(controller, file string) uint64 {
	b, err := os.ReadFile(filepath.Join(g.path(controller), file))
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	return n
}

// pairs reads a file of lines "key number".
func (g cgroup) pairs(controller, file string) map[string]uint64 {
	b, err := os.ReadFile(filepath.Join(g.path(controller), file))
	if err != nil {
		return nil
	}
	m := map[string]uint64{}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 2 {
			if n, err := strconv.ParseUint(f[1], 10, 64); err == nil {
				m[f[0]] = n
			}
		}
	}
	return m
}

func ownerOf(info os.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return 0
}
