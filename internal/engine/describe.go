package engine

import (
	"context"
	"fmt"
	"os"
	"runtime"

	"github.com/containerd/cgroups/v3"
	"github.com/moby/moby/api/types/swarm"
	"golang.org/x/sys/unix"
)

// Describe says what this node is and has: processors, memory, platform, drivers.
func (x *Executor) Describe(context.Context) (swarm.NodeDescription, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return swarm.NodeDescription{}, fmt.Errorf("memory of the node: %w", err)
	}
	e := x.e
	return swarm.NodeDescription{
		Hostname: e.cfg.Hostname,
		Platform: swarm.Platform{Architecture: machine(runtime.GOARCH), OS: runtime.GOOS},
		Resources: swarm.Resources{
			NanoCPUs: int64(runtime.NumCPU()) * 1e9, MemoryBytes: int64(info.Totalram) * int64(info.Unit), GenericResources: e.cfg.Generic,
		},
		Engine: swarm.EngineDescription{EngineVersion: e.cfg.Version, Labels: e.cfg.Labels, Plugins: []swarm.PluginDescription{
			{Type: "Log", Name: driverJSON},
			{Type: "Log", Name: driverLocal},
			{Type: "Log", Name: driverNone},
			{Type: "Network", Name: "bridge"},
			{Type: "Network", Name: "host"},
			{Type: "Network", Name: "null"},
			{Type: "Network", Name: "overlay"},
			{Type: "Volume", Name: "local"},
		}},
	}, nil
}

// nodeOf finds out what the kernel can do.
func nodeOf(hostname string) Node {
	n := Node{Hostname: hostname, Cgroup2: cgroups.Mode() == cgroups.Unified}
	swap := "/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes"
	if n.Cgroup2 {
		swap = "/sys/fs/cgroup/system.slice/memory.swap.max" // the root group has none
		if _, err := os.Stat(swap); err != nil {
			swap = "/proc/swaps" // without systemd: runc leaves the limit out where it cannot be set
		}
	}
	_, err := os.Stat(swap)
	n.Swap = err == nil
	return n
}
