package playground

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Files of a machine that has a disk of its own size (Config.Disk).
const (
	diskImage  = "disk.img"
	diskDevice = "disk.dev" // "MAJOR:MINOR" of the loop device, while the machine is on
	ballast    = ".ballast"
)

// dataDir is where the machine's daemon keeps its state. With a disk of its own it is seen from inside alone.
func (m *Machine) dataDir() string { return filepath.Join(m.Dir, "data") }

// mountDisk gives the machine's data folder a file system of its own, in a file behind a loop device. The device goes with the
// last mount of it, which is this mount namespace's.
func (b boot) mountDisk() error {
	image := filepath.Join(b.Dir, diskImage)
	if _, err := os.Stat(image); errors.Is(err, fs.ErrNotExist) {
		if err := b.makeDisk(image); err != nil {
			return err
		}
	}
	loop, err := attach(image)
	if err != nil {
		return fmt.Errorf("disk: %w", err)
	}
	defer loop.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(loop.Fd()), &st); err != nil {
		return fmt.Errorf("disk: %w", err)
	}
	data := filepath.Join(b.Dir, "data")
	if err := os.MkdirAll(data, 0o711); err != nil {
		return err
	}
	if err := mount(loop.Name(), data, "ext4", 0, ""); err != nil {
		return err
	}
	device := fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	return os.WriteFile(filepath.Join(b.Dir, diskDevice), []byte(device), 0o600)
}

func (b boot) makeDisk(image string) error {
	f, err := os.OpenFile(image+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(b.Disk), f.Close()); err != nil {
		return err
	}
	if err := os.Setenv("PATH", b.Path); err != nil {
		return err
	}
	// Nothing is kept back for root, which the daemon is: full means full.
	out, err := exec.Command("mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", image+".new").CombinedOutput()
	if err != nil {
		return fmt.Errorf("mkfs.ext4 (package e2fsprogs): %w: %s", err, out)
	}
	return os.Rename(image+".new", image)
}

// attach puts a free loop device before the file. It is let go of by itself when nobody uses it.
func attach(image string) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("loop devices (kernel module loop): %w", err)
	}
	defer control.Close()
	back, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer back.Close()
	for {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("free loop device: %w", err)
		}
		loop, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		err = unix.IoctlLoopConfigure(int(loop.Fd()), &unix.LoopConfig{
			Fd: uint32(back.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR},
		})
		if err == nil {
			return loop, nil
		}
		loop.Close()
		if !errors.Is(err, unix.EBUSY) { // else somebody was faster: the next one
			return nil, fmt.Errorf("%s: %w", loop.Name(), err)
		}
	}
}

// Slow lets the machine's disk do so many writes a second; 0: as many as it can. It takes Config.Disk.
func (m *Machine) Slow(writes int) error {
	device, err := m.disk()
	if err != nil {
		return err
	}
	hs, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range hs {
		dir := filepath.Join(h.path, m.of.cgroup(), m.Name)
		file, line := filepath.Join(dir, "blkio.throttle.write_iops_device"), fmt.Sprintf("%s %d", device, writes)
		if h.v2 {
			limit := fmt.Sprint(writes)
			if writes == 0 {
				limit = "max"
			}
			file, line = filepath.Join(dir, "io.max"), device+" wiops="+limit
		}
		if _, err := os.Stat(file); err != nil {
			continue
		}
		if err := os.WriteFile(file, []byte(line), 0o644); err != nil {
			return fmt.Errorf("machine %s: %w", m.Name, err)
		}
		return nil
	}
	return errors.New("this machine has no control group that slows disks down (blkio or io)")
}

// Fill takes all that is free on the machine's disk; Empty gives it back. Both take Config.Disk.
func (m *Machine) Fill() error {
	return m.inData(func(dir string) error {
		f, err := os.OpenFile(filepath.Join(dir, ballast), os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer f.Close()
		var size int64
		for step := int64(1 << 30); step >= 4096; {
			if err := unix.Fallocate(int(f.Fd()), 0, size, step); err == nil {
				size += step
			} else if errors.Is(err, unix.ENOSPC) {
				step /= 2
			} else if !errors.Is(err, unix.EINTR) {
				return err
			}
		}
		return nil
	})
}

// Empty removes what Fill has put there, if anything.
func (m *Machine) Empty() error {
	return m.inData(func(dir string) error {
		err := os.Remove(filepath.Join(dir, ballast))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

// inData calls f with a path of the machine's data folder that leads there from outside its mount namespace.
func (m *Machine) inData(f func(dir string) error) error {
	if _, err := m.disk(); err != nil {
		return err
	}
	if err := f(fmt.Sprintf("/proc/%d/root%s", m.pid(), m.dataDir())); err != nil {
		return fmt.Errorf("disk of machine %s: %w", m.Name, err)
	}
	return nil
}

// OwnDisk says whether the machine has a disk of its own, which can be slow or full.
func (m *Machine) OwnDisk() bool {
	_, err := m.disk()
	return err == nil
}

// disk is the device of the machine's disk.
func (m *Machine) disk() (string, error) {
	if !m.On() {
		return "", fmt.Errorf("machine %s is off", m.Name)
	}
	b, err := os.ReadFile(filepath.Join(m.Dir, diskDevice))
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("machine %s shares this machine's disk: make the playground with disks of its own (shoal playground up --disk 2G)", m.Name)
	}
	return strings.TrimSpace(string(b)), err
}
