package engine

import (
	"context"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
)

// statsBeat is how often a stream of statistics says something, as Docker's.
const statsBeat = time.Second

// Stats yields what a container uses. A stream goes on once a second until ctx ends or the container is removed;
// otherwise there is one value, which covers a second unless oneShot. A container that does not run uses nothing.
// ErrNotFound in Docker's words, as the only value.
func (e *Engine) Stats(ctx context.Context, ref string, stream, oneShot bool) iter.Seq2[container.StatsResponse, error] {
	return func(yield func(container.StatsResponse, error) bool) {
		c, err := e.Find(ref)
		if err != nil {
			yield(container.StatsResponse{}, err)
			return
		}
		t := time.NewTicker(statsBeat)
		defer t.Stop()
		last := c.sample()
		if oneShot && !stream {
			yield(last, nil)
			return
		}
		for first := true; ; first = false {
			if !first || !stream { // a stream's first value comes at once
				select {
				case <-ctx.Done():
					return
				case <-t.C:
				}
			}
			now := c.sample()
			now.PreCPUStats, now.PreRead = last.CPUStats, last.Read
			if first && stream {
				now.PreCPUStats, now.PreRead = container.CPUStats{}, time.Time{}
			}
			if !yield(now, nil) || !stream {
				return
			}
			if found, err := e.Find(c.ID()); err != nil || found != c {
				return
			}
			last = now
		}
	}
}

// sample reads what the container uses now; what cannot be read is zero.
func (c *Container) sample() container.StatsResponse {
	r := c.Record()
	out := container.StatsResponse{ID: r.ID, Name: "/" + r.Name, OSType: "linux", Read: time.Now().UTC()}
	if !r.State.Running() {
		return out
	}
	g, err := cgroupOf(r.State.Pid)
	if err != nil {
		return out // it has ended meanwhile
	}
	out.CPUStats.SystemUsage, out.CPUStats.OnlineCPUs = machineCPU()
	if g.unified {
		g.sampleV2(&out)
	} else {
		g.sampleV1(&out)
	}
	if total := machineMemory(); out.MemoryStats.Limit == 0 || out.MemoryStats.Limit > total {
		out.MemoryStats.Limit = total // without a limit the machine's memory is one
	}
	if box, ok := c.engine.cfg.Network.Sandbox(r.ID); ok && box.Path != "" {
		out.Networks = interfaces(r.State.Pid)
	}
	return out
}

func (g cgroup) sampleV1(out *container.StatsResponse) {
	cpu := g.pairs("cpuacct", "cpuacct.stat")
	out.CPUStats.CPUUsage = container.CPUUsage{
		TotalUsage:        g.number("cpuacct", "cpuacct.usage"),
		UsageInUsermode:   cpu["user"] * uint64(time.Second) / ticks,
		UsageInKernelmode: cpu["system"] * uint64(time.Second) / ticks,
	}
	throttled := g.pairs("cpu", "cpu.stat")
	out.CPUStats.ThrottlingData = container.ThrottlingData{Periods: throttled["nr_periods"], ThrottledPeriods: throttled["nr_throttled"], ThrottledTime: throttled["throttled_time"]}
	out.MemoryStats = container.MemoryStats{
		Usage: g.number("memory", "memory.usage_in_bytes"), MaxUsage: g.number("memory", "memory.max_usage_in_bytes"),
		Limit: g.number("memory", "memory.limit_in_bytes"), Failcnt: g.number("memory", "memory.failcnt"), Stats: g.pairs("memory", "memory.stat"),
	}
	out.PidsStats = container.PidsStats{Current: g.number("pids", "pids.current"), Limit: g.number("pids", "pids.max")}
	out.BlkioStats.IoServiceBytesRecursive = g.blkio("blkio.throttle.io_service_bytes_recursive")
	out.BlkioStats.IoServicedRecursive = g.blkio("blkio.throttle.io_serviced_recursive")
}

// blkio reads lines "8:0 Read 4096".
func (g cgroup) blkio(file string) []container.BlkioStatEntry {
	b, err := os.ReadFile(filepath.Join(g.path("blkio"), file))
	if err != nil {
		return nil
	}
	var all []container.BlkioStatEntry
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 {
			all = append(all, entry(f[0], strings.ToLower(f[1]), f[2]))
		}
	}
	return all
}

func entry(device, op, value string) container.BlkioStatEntry {
	major, minor, _ := strings.Cut(device, ":")
	e := container.BlkioStatEntry{Op: op}
	e.Major, _ = strconv.ParseUint(major, 10, 64)
	e.Minor, _ = strconv.ParseUint(minor, 10, 64)
	e.Value, _ = strconv.ParseUint(value, 10, 64)
	return e
}

func (g cgroup) sampleV2(out *container.StatsResponse) {
	const perMicro = uint64(time.Microsecond)
	cpu := g.pairs("", "cpu.stat")
	out.CPUStats.CPUUsage = container.CPUUsage{TotalUsage: cpu["usage_usec"] * perMicro, UsageInUsermode: cpu["user_usec"] * perMicro, UsageInKernelmode: cpu["system_usec"] * perMicro}
	out.CPUStats.ThrottlingData = container.ThrottlingData{Periods: cpu["nr_periods"], ThrottledPeriods: cpu["nr_throttled"], ThrottledTime: cpu["throttled_usec"] * perMicro}
	out.MemoryStats = container.MemoryStats{
		Usage: g.number("", "memory.current"), MaxUsage: g.number("", "memory.peak"), Limit: g.number("", "memory.max"),
		Failcnt: g.pairs("", "memory.events")["oom"], Stats: g.pairs("", "memory.stat"),
	}
	out.PidsStats = container.PidsStats{Current: g.number("", "pids.current"), Limit: g.number("", "pids.max")}
	b, err := os.ReadFile(filepath.Join(g.path(""), "io.stat"))
	if err != nil {
		return
	}
	for line := range strings.Lines(string(b)) { // 8:0 rbytes=1 wbytes=2 rios=3 …
		f := strings.Fields(line)
		for _, kv := range f[min(1, len(f)):] {
			k, v, _ := strings.Cut(kv, "=")
			switch k {
			case "rbytes", "wbytes":
				out.BlkioStats.IoServiceBytesRecursive = append(out.BlkioStats.IoServiceBytesRecursive, entry(f[0], direction(k), v))
			case "rios", "wios":
				out.BlkioStats.IoServicedRecursive = append(out.BlkioStats.IoServicedRecursive, entry(f[0], direction(k), v))
			}
		}
	}
}

func direction(key string) string {
	if key[0] == 'r' {
		return "read"
	}
	return "write"
}

// machineCPU is the CPU time that all CPUs have had, idle or not, in nanoseconds, and how many there are (proc_stat(5)).
func machineCPU() (used uint64, cpus uint32) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		switch {
		case len(f) > 8 && f[0] == "cpu":
			for _, v := range f[1:9] { // guest time is in user time already
				n, _ := strconv.ParseUint(v, 10, 64)
				used += n * uint64(time.Second) / ticks
			}
		case len(f) > 0 && strings.HasPrefix(f[0], "cpu"):
			cpus++
		}
	}
	return used, cpus
}

// machineMemory is the machine's memory in bytes.
func machineMemory() uint64 {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "MemTotal:" {
			n, _ := strconv.ParseUint(f[1], 10, 64)
			return n << 10
		}
	}
	return 0
}

// interfaces reads the counters of a process's network namespace, without lo.
func interfaces(pid int) map[string]container.NetworkStats {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "net/dev"))
	if err != nil {
		return nil
	}
	all := map[string]container.NetworkStats{}
	for line := range strings.Lines(string(b)) {
		name, counters, ok := strings.Cut(line, ":")
		f := strings.Fields(counters)
		if name = strings.TrimSpace(name); !ok || len(f) < 12 || name == "lo" {
			continue
		}
		num := func(i int) uint64 { n, _ := strconv.ParseUint(f[i], 10, 64); return n }
		all[name] = container.NetworkStats{
			RxBytes: num(0), RxPackets: num(1), RxErrors: num(2), RxDropped: num(3),
			TxBytes: num(8), TxPackets: num(9), TxErrors: num(10), TxDropped: num(11),
		}
	}
	return all
}
