package engine

import (
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"shoal/internal/cluster"
)

// cpuPeriod is the period that NanoCPUs is counted in, in microseconds.
const cpuPeriod = 100_000

// minMemory is the least that a container may be limited to, as in Docker: less does not hold runc's own start.
const minMemory = 6 << 20

// resources sets the limits of the container's cgroup.
func resources(s *specs.Spec, w Wish) error {
	h := w.HostConfig
	r := &specs.LinuxResources{}
	s.Linux.Resources = r
	cpu, err := cpuLimits(h.Resources)
	if err != nil {
		return err
	}
	r.CPU = cpu
	if r.Memory, err = memoryLimits(h.Resources, w.Node.Swap); err != nil {
		return err
	}
	if h.PidsLimit != nil && *h.PidsLimit > 0 {
		r.Pids = &specs.LinuxPids{Limit: h.PidsLimit}
	}
	if h.BlkioWeight > 0 {
		if h.BlkioWeight < 10 || h.BlkioWeight > 1000 {
			return cluster.Errorf(errdefs.ErrInvalidArgument, "range of blkio weight is from 10 to 1000")
		}
		r.BlockIO = &specs.LinuxBlockIO{Weight: &h.BlkioWeight}
	}
	return nil
}

func cpuLimits(r container.Resources) (*specs.LinuxCPU, error) {
	cpu := &specs.LinuxCPU{Cpus: r.CpusetCpus, Mems: r.CpusetMems}
	if r.NanoCPUs != 0 && (r.CPUQuota != 0 || r.CPUPeriod != 0) {
		return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "conflicting options: Nano CPUs and CPU Period or Quota cannot both be set")
	}
	if r.NanoCPUs < 0 {
		return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "invalid value: NanoCPUs must be positive")
	}
	if r.CPUShares < 0 {
		return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "invalid CPU shares (%d): value must be a positive integer", r.CPUShares)
	}
	if r.CPUShares > 0 {
		v := uint64(r.CPUShares)
		cpu.Shares = &v
	}
	if r.NanoCPUs > 0 {
		period := uint64(cpuPeriod)
		quota := max(r.NanoCPUs*cpuPeriod/1e9, 1000) // the kernel takes no less than a millisecond
		cpu.Period, cpu.Quota = &period, &quota
	}
	if r.CPUPeriod != 0 {
		if r.CPUPeriod < 1000 || r.CPUPeriod > 1_000_000 {
			return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
		}
		v := uint64(r.CPUPeriod)
		cpu.Period = &v
	}
	if r.CPUQuota != 0 {
		if r.CPUQuota > 0 && r.CPUQuota < 1000 {
			return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "CPU cfs quota can not be less than 1ms (i.e. 1000)")
		}
		cpu.Quota = &r.CPUQuota
	}
	if *cpu == (specs.LinuxCPU{}) {
		return nil, nil
	}
	return cpu, nil
}

// memoryLimits follows Docker: with a limit alone the container may swap as much again, if the kernel counts swap.
func memoryLimits(r container.Resources, swap bool) (*specs.LinuxMemory, error) {
	switch {
	case r.Memory != 0 && r.Memory < minMemory:
		return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "Minimum memory limit allowed is 6MB")
	case r.MemorySwap > 0 && r.Memory == 0:
		return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "You should always set the Memory limit when using Memoryswap limit, see usage")
	case r.MemorySwap > 0 && r.MemorySwap < r.Memory:
		return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "Minimum memoryswap limit should be larger than memory limit, see usage")
	case r.Memory > 0 && r.MemoryReservation > 0 && r.Memory < r.MemoryReservation:
		return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "Minimum memory limit can not be less than memory reservation limit, see usage")
	case r.MemorySwappiness != nil && (*r.MemorySwappiness < -1 || *r.MemorySwappiness > 100):
		return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "Invalid value: %d, valid memory swappiness range is 0-100", *r.MemorySwappiness)
	}
	m := &specs.LinuxMemory{}
	if r.Memory > 0 {
		m.Limit = &r.Memory
		total := r.MemorySwap
		if total == 0 {
			total = 2 * r.Memory
		}
		if swap {
			m.Swap = &total
		}
	}
	if r.MemoryReservation > 0 {
		m.Reservation = &r.MemoryReservation
	}
	if r.MemorySwappiness != nil && *r.MemorySwappiness >= 0 {
		v := uint64(*r.MemorySwappiness)
		m.Swappiness = &v
	}
	if r.OomKillDisable != nil && *r.OomKillDisable {
		m.DisableOOMKiller = r.OomKillDisable
	}
	if *m == (specs.LinuxMemory{}) {
		return nil, nil
	}
	return m, nil
}
