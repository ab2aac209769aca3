package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// process is what the kernel says of one process of a machine.
type process struct {
	name      string // of its program
	RSS, PSS  int64  // bytes
	anonymous int64  // bytes of RSS that are no file's: what only this process has
	CPU       time.Duration
}

// tickTime is the kernel's unit in /proc/PID/stat, the same on every architecture that Linux shows to programs.
const tickTime = time.Second / 100

// processes are those in the machine's own PID namespace: daemons and shims, but not what runs in containers.
func (n *node) processes() ([]process, error) {
	space, err := n.space()
	if err != nil {
		return nil, err
	}
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var out []process
	for _, dir := range all {
		if here, err := os.Readlink(dir + "/ns/pid"); err != nil || here != space {
			continue
		}
		if p, err := readProcess(dir); err == nil { // it may have ended by now
			out = append(out, p)
		}
	}
	return out, nil
}

// space names the machine's PID namespace.
func (n *node) space() (string, error) {
	pid, err := n.firstProcess()
	if err != nil {
		return "", err
	}
	return os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid))
}

func readProcess(dir string) (p process, err error) {
	command, err := os.ReadFile(dir + "/cmdline")
	if err != nil {
		return p, err
	}
	words := strings.Split(string(command), "\x00")
	p.name = filepath.Base(words[0])
	if p.name == "shoal" && len(words) > 1 {
		p.name += " " + words[1]
	}
	memory, err := os.ReadFile(dir + "/smaps_rollup")
	if err != nil {
		return p, err
	}
	for line := range strings.Lines(string(memory)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		kib, _ := strconv.ParseInt(f[1], 10, 64)
		switch f[0] {
		case "Rss:":
			p.RSS = kib << 10
		case "Pss:":
			p.PSS = kib << 10
		case "Anonymous:":
			p.anonymous = kib << 10
		}
	}
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return p, err
	}
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	for _, i := range []int{11, 12} { // utime and stime, proc(5)
		ticks, _ := strconv.ParseInt(f[i], 10, 64)
		p.CPU += time.Duration(ticks) * tickTime
	}
	return p, nil
}

// use is the processor time that a machine has used: by its daemon, by that one's containerd, and by everything.
type use struct{ all, daemon, containerd time.Duration }

// rest is what shims, runc and containers used, those that have ended included.
func (u use) rest() time.Duration { return u.all - u.daemon - u.containerd }

func (n *node) use(tb testing.TB) (u use) {
	tb.Helper()
	var err error
	u.all, err = n.busy()
	must(tb, err)
	all, err := n.processes()
	must(tb, err)
	for _, p := range all {
		switch p.name {
		case "shoal daemon", "dockerd":
			u.daemon += p.CPU
		case "containerd":
			u.containerd += p.CPU
		}
	}
	return u
}

// busy is the processor time that the machine has used, its containers and what has ended included.
func (n *node) busy() (time.Duration, error) {
	v1, v2, err := n.groups("cpuacct")
	if err != nil {
		return 0, err
	}
	if v1 == "" {
		return busyUnified(v2)
	}
	text, err := os.ReadFile(filepath.Join(v1, "cpuacct.usage"))
	if err != nil {
		return 0, err
	}
	ns, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return time.Duration(ns), err
}

// favour gives the machine the processors before everything else on this host that is in a group of the default weight or
// in none: else it would have the share of one process among all that run, whatever it measures.
func (n *node) favour() error {
	v1, v2, err := n.groups("cpu")
	if err != nil {
		return err
	}
	file, dir, most := "cpu.weight", v2, "10000"
	if v1 != "" {
		file, dir, most = "cpu.shares", v1, "262144"
	}
	for ; strings.Contains(dir, "shoal-playground"); dir = filepath.Dir(dir) {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(most), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// favourSelf gives this process the weight of the favoured machines, n among them, until the benchmark ends: what it sees happen it
// would otherwise see when they leave it a processor.
func favourSelf(tb testing.TB, n *node) {
	tb.Helper()
	v1, v2, err := n.groups("cpu")
	must(tb, err)
	file, dir, most, line := "cpu.weight", v2, "10000", "0::"
	if v1 != "" {
		file, dir, most, line = "cpu.shares", v1, "262144", ":cpu"
	}
	for strings.Contains(dir, "shoal-playground") {
		dir = filepath.Dir(dir)
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	must(tb, err)
	home := dir
	for l := range strings.Lines(string(own)) {
		if at := strings.LastIndex(l, ":"); strings.Contains(l, line) {
			home = filepath.Join(dir, strings.TrimSpace(l[at+1:]))
		}
	}
	group := filepath.Join(dir, "shoal-bench-"+strconv.Itoa(os.Getpid()))
	must(tb, os.Mkdir(group, 0o755))
	tb.Cleanup(func() {
		enter := os.WriteFile(filepath.Join(home, "cgroup.procs"), []byte("0"), 0o644)
		must(tb, errors.Join(enter, os.Remove(group)))
	})
	must(tb, os.WriteFile(filepath.Join(group, file), []byte(most), 0o644))
	must(tb, os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte("0"), 0o644))
}

// groups are the directories of the machine's control group: of a controller of version 1 ("" when there is none), and of
// version 2, where the first process stands in a leaf below the machine's group.
func (n *node) groups(controller string) (v1, v2 string, err error) {
	pid, err := n.firstProcess()
	if err != nil {
		return "", "", err
	}
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", "", err
	}
	for line := range strings.Lines(string(groups)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) == 3 && slices.Contains(strings.Split(f[1], ","), controller) {
			v1 = filepath.Join("/sys/fs/cgroup", controller, f[2])
		}
		if len(f) == 3 && f[1] == "" {
			v2 = filepath.Join("/sys/fs/cgroup", filepath.Dir(f[2]))
		}
	}
	return v1, v2, nil
}

func (n *node) firstProcess() (int, error) {
	b, err := os.ReadFile(filepath.Join(n.Dir, "init.pid"))
	if err != nil {
		return 0, err
	}
	var first struct{ PID int }
	return first.PID, errors.Join(json.Unmarshal(b, &first))
}

func busyUnified(group string) (time.Duration, error) {
	text, err := os.ReadFile(filepath.Join(group, "cpu.stat"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "usage_usec "); ok {
			us, err := strconv.ParseInt(strings.TrimSpace(rest), 10, 64)
			return time.Duration(us) * time.Microsecond, err
		}
	}
	return 0, fmt.Errorf("no processor time in %q", text)
}
