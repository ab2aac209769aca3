package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/sys/user"

	"shoal/internal/cluster"
)

// ticks is USER_HZ, which Linux has fixed at 100 for user space on every architecture that Go supports (time(7)).
const ticks = 100

// process is one process as /proc tells of it.
type process struct {
	pid, ppid, threads   int
	uid, state, tty, cmd string
	comm                 string
	cpu                  time.Duration
	start                time.Time
	rss, vsz             int64 // bytes
	share                int   // per cent of one CPU since it was started
}

// columns are what ps calls them: the titles that `-o` accepts and what each shows.
var columns = map[string]struct {
	title string
	show  func(process) string
}{
	"uid": {"UID", func(p process) string { return p.uid }}, "user": {"USER", func(p process) string { return p.uid }},
	"pid": {"PID", func(p process) string { return strconv.Itoa(p.pid) }}, "ppid": {"PPID", func(p process) string { return strconv.Itoa(p.ppid) }},
	"c": {"C", func(p process) string { return strconv.Itoa(p.share) }}, "pcpu": {"%CPU", func(p process) string { return strconv.Itoa(p.share) }},
	"stime": {"STIME", func(p process) string { return p.start.Local().Format("15:04") }}, "tty": {"TTY", func(p process) string { return p.tty }},
	"time": {"TIME", func(p process) string { return clock(p.cpu) }}, "cmd": {"CMD", func(p process) string { return p.cmd }},
	"args": {"COMMAND", func(p process) string { return p.cmd }}, "command": {"COMMAND", func(p process) string { return p.cmd }},
	"comm": {"COMMAND", func(p process) string { return p.comm }}, "stat": {"STAT", func(p process) string { return p.state }},
	"rss":  {"RSS", func(p process) string { return strconv.FormatInt(p.rss/1024, 10) }},
	"vsz":  {"VSZ", func(p process) string { return strconv.FormatInt(p.vsz/1024, 10) }},
	"nlwp": {"NLWP", func(p process) string { return strconv.Itoa(p.threads) }},
}

// Top lists the processes of a running container as ps(1) on the node would, without needing one there. args are ps's:
// empty or -ef, aux, or -o with the columns that ps knows by name. ErrConflict: it does not run.
func (e *Engine) Top(_ context.Context, ref, args string) (container.TopResponse, error) {
	var out container.TopResponse
	c, err := e.Find(ref)
	if err != nil {
		return out, err
	}
	keys, err := psColumns(args)
	if err != nil {
		return out, err
	}
	r := c.Record()
	if !r.State.Running() {
		return out, cluster.Errorf(errdefs.ErrConflict, "container %s is not running", r.ID)
	}
	pids, err := processIDs(r.State.Pid)
	if err != nil {
		return out, fmt.Errorf("processes of container %s: %w", r.ID, err)
	}
	now, boot, err := bootTime()
	if err != nil {
		return out, err
	}
	for _, k := range keys {
		out.Titles = append(out.Titles, columns[k].title)
	}
	out.Processes = [][]string{}
	for _, pid := range pids {
		p, err := readProcess(pid, now, boot)
		if err != nil {
			continue // it has ended meanwhile
		}
		line := make([]string, len(keys))
		for i, k := range keys {
			line[i] = columns[k].show(p)
		}
		out.Processes = append(out.Processes, line)
	}
	return out, nil
}

func psColumns(args string) ([]string, error) {
	fields := strings.Fields(args)
	switch strings.Join(fields, " ") {
	case "", "-ef", "-e -f", "-fe", "-f", "-e", "-A":
		return []string{"uid", "pid", "ppid", "c", "stime", "tty", "time", "cmd"}, nil
	case "aux", "-aux", "axu":
		return []string{"user", "pid", "pcpu", "vsz", "rss", "tty", "stat", "stime", "time", "command"}, nil
	}
	var keys []string
	for i := 0; i < len(fields); i++ {
		list, ok := strings.CutPrefix(fields[i], "-o")
		if !ok {
			list, ok = strings.CutPrefix(fields[i], "o")
		}
		if ok && list == "" && i+1 < len(fields) {
			i++
			list = fields[i]
		}
		if !ok {
			if fields[i] == "-e" || fields[i] == "-A" || fields[i] == "ax" {
				continue
			}
			return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "ps option %q is not supported: use -ef, aux or -o with columns", fields[i])
		}
		for k := range strings.SplitSeq(list, ",") {
			if _, known := columns[k]; !known {
				return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "ps column %q is not known", k)
			}
			keys = append(keys, k)
		}
	}
	if !slices.Contains(keys, "pid") {
		return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "Couldn't find PID field in ps output")
	}
	return keys, nil
}

// processIDs lists the processes in the cgroup of a container's first process, and below it.
func processIDs(pid int) ([]int, error) {
	g, err := cgroupOf(pid)
	if err != nil {
		return nil, err
	}
	var pids []int
	err = filepath.WalkDir(g.path("pids"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return ignoreGone(err)
		}
		b, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		for f := range strings.FieldsSeq(string(b)) {
			if n, err := strconv.Atoi(f); err == nil {
				pids = append(pids, n)
			}
		}
		return ignoreGone(err)
	})
	slices.Sort(pids)
	return slices.Compact(pids), err
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// bootTime returns the present and when the machine was started.
func bootTime() (now, boot time.Time, _ error) {
	b, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return now, boot, err
	}
	up, _, _ := strings.Cut(string(b), " ")
	sec, err := strconv.ParseFloat(up, 64)
	now = time.Now()
	return now, now.Add(-time.Duration(sec * float64(time.Second))), err
}

// readProcess reads /proc/<pid> (proc(5)).
func readProcess(pid int, now, boot time.Time) (process, error) {
	p := process{pid: pid, tty: "?"}
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return p, err
	}
	// The name is in parentheses and may hold anything, parentheses too.
	open, end := strings.IndexByte(string(stat), '('), strings.LastIndexByte(string(stat), ')')
	if open < 0 || end < open {
		return p, fmt.Errorf("%s/stat cannot be read", dir)
	}
	p.comm = string(stat[open+1 : end])
	f := strings.Fields(string(stat[end+1:])) // f[0] is field 3 of proc(5)
	if len(f) < 22 {
		return p, fmt.Errorf("%s/stat is too short", dir)
	}
	num := func(i int) int64 { n, _ := strconv.ParseInt(f[i-3], 10, 64); return n }
	p.state, p.ppid, p.threads = f[0], int(num(4)), int(num(20))
	p.tty = ttyName(num(7))
	p.cpu = time.Duration(num(14)+num(15)) * time.Second / ticks
	p.start = boot.Add(time.Duration(num(22)) * time.Second / ticks)
	p.vsz, p.rss = num(23), num(24)*int64(os.Getpagesize())
	if life := now.Sub(p.start); life > 0 {
		p.share = int(100 * p.cpu / life)
	}
	cmd, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return p, err
	}
	if p.cmd = strings.TrimSpace(strings.ReplaceAll(string(cmd), "\x00", " ")); p.cmd == "" {
		p.cmd = "[" + p.comm + "]"
	}
	info, err := os.Stat(dir)
	if err != nil {
		return p, err
	}
	p.uid = userName(info)
	return p, nil
}

// userName is the owner as the node names it, as ps on the node would; a user it has no name for is a number.
func userName(info os.FileInfo) string {
	id := ownerOf(info)
	if u, err := user.LookupUid(id); err == nil {
		return u.Name
	}
	return strconv.Itoa(id)
}

func ttyName(dev int64) string {
	major, minor := (dev>>8)&0xfff, dev&0xff|(dev>>12)&0xfff00
	switch {
	case dev == 0:
		return "?"
	case major >= 136 && major <= 143: // Unix98 terminals, Documentation/admin-guide/devices.txt
		return fmt.Sprintf("pts/%d", (major-136)<<8+minor)
	case major == 4:
		return fmt.Sprintf("tty%d", minor)
	}
	return "?"
}

func clock(d time.Duration) string {
	s := int(d / time.Second)
	return fmt.Sprintf("%02d:%02d:%02d", s/3600, s/60%60, s%60)
}
