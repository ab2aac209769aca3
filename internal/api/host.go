package api

import (
	"bufio"
	"bytes"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/system"
	"golang.org/x/sys/unix"
)

// fillHost adds to info what the machine tells, and a value to every list that clients expect to be one. What info has
// already stays.
func fillHost(info *system.Info) {
	info.OSType = runtime.GOOS
	info.NCPU = runtime.NumCPU()
	info.NGoroutines = runtime.NumGoroutine()
	info.NFd = openFiles()
	info.SystemTime = time.Now().Format(time.RFC3339Nano)
	info.KernelVersion = kernelVersion()
	info.Architecture = machine()
	info.OperatingSystem, info.OSVersion = osRelease()
	info.MemTotal = memory()
	info.CgroupVersion = cgroupVersion()
	info.MemoryLimit, info.SwapLimit, info.PidsLimit, info.CPUSet = true, true, true, true
	info.CPUCfsPeriod, info.CPUCfsQuota, info.CPUShares = true, true, true
	info.OomKillDisable = info.CgroupVersion == "1"
	info.IPv4Forwarding = readFlag("/proc/sys/net/ipv4/ip_forward")
	fillLists(info)
}

func fillLists(info *system.Info) {
	orElse := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	orElse(&info.Driver, "overlayfs")
	orElse(&info.CgroupDriver, "cgroupfs")
	orElse(&info.LoggingDriver, "json-file")
	orElse(&info.DefaultRuntime, "runc")
	orElse(&info.InitBinary, "docker-init")
	orElse(&info.IndexServerAddress, "https://index.docker.io/v1/")
	if info.Name == "" {
		info.Name, _ = os.Hostname()
	}
	if info.DriverStatus == nil {
		info.DriverStatus = [][2]string{{"driver-type", "io.containerd.snapshotter.v1"}}
	}
	p := &info.Plugins
	for list, value := range map[*[]string][]string{
		&p.Volume: {"local"}, &p.Network: {"bridge", "host", "null", "overlay"}, &p.Log: {"json-file", "local", "none"},
		&info.Labels: {}, &info.SecurityOptions: {"name=seccomp,profile=builtin"}, &info.CDISpecDirs: {}, &info.Warnings: {},
	} {
		if *list == nil {
			*list = value
		}
	}
	if info.Runtimes == nil {
		info.Runtimes = map[string]system.RuntimeWithStatus{info.DefaultRuntime: {}}
	}
	if info.GenericResources == nil {
		info.GenericResources = []swarm.GenericResource{}
	}
	if info.RegistryConfig == nil {
		info.RegistryConfig = &registry.ServiceConfig{IndexConfigs: map[string]*registry.IndexInfo{}, Mirrors: []string{}}
	}
}

func uname() unix.Utsname {
	var u unix.Utsname
	_ = unix.Uname(&u) // fails only for a bad pointer
	return u
}

func kernelVersion() string {
	u := uname()
	return unix.ByteSliceToString(u.Release[:])
}

func machine() string {
	u := uname()
	return unix.ByteSliceToString(u.Machine[:])
}

// osRelease is the distribution's name and version; see os-release(5).
func osRelease() (name, version string) {
	name = "Linux"
	body, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return name, ""
	}
	for line := bufio.NewScanner(bytes.NewReader(body)); line.Scan(); {
		key, value, _ := strings.Cut(line.Text(), "=")
		if unquoted, err := strconv.Unquote(value); err == nil {
			value = unquoted
		}
		switch key {
		case "PRETTY_NAME":
			name = value
		case "VERSION_ID":
			version = value
		}
	}
	return name, version
}

// memory is the machine's memory in bytes.
func memory() int64 {
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) != nil {
		return 0
	}
	return int64(si.Totalram) * int64(si.Unit)
}

func cgroupVersion() string {
	var st unix.Statfs_t
	if unix.Statfs("/sys/fs/cgroup", &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
		return "2"
	}
	return "1"
}

func readFlag(path string) bool {
	body, err := os.ReadFile(path)
	return err == nil && strings.TrimSpace(string(body)) == "1"
}

func openFiles() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}
