package playground

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Machine is one machine of a playground. It holds no state: what is true of it stands in its folder and in the kernel.
type Machine struct {
	Name    string
	Number  int
	Address netip.Addr
	// Address6 is its IPv6 address, which ends in the machine's number too.
	Address6 netip.Addr
	Dir      string // its disk, seen under the same path from inside
	of       *Playground
}

// process is an init process as its folder remembers it. The start time tells it from a later process with the same number.
type process struct {
	PID   int
	Start uint64 // clock ticks since the host's boot
}

// boot is what an init is told by its maker.
type boot struct {
	Name, Dir        string
	Address, Gateway netip.Addr
	Forward          bool // route between interfaces: the switch
	Tied             bool
	Disk             int64  // bytes of a disk of its own; 0: none
	Path             string // value of PATH
}

// Boot turns the machine on and returns when its init answers. Its disk is what it was. Booting a machine that is on is an error.
func (m *Machine) Boot() error {
	if m.On() {
		return fmt.Errorf("machine %s is on already", m.Name)
	}
	if err := m.boot(); err != nil {
		return errors.Join(fmt.Errorf("machine %s does not boot: %w", m.Name, err), m.Off())
	}
	return nil
}

func (m *Machine) boot() error {
	if err := os.MkdirAll(m.Dir, 0o755); err != nil {
		return err
	}
	for _, stale := range []string{initSocket, daemonSocket, daemonPID, diskDevice} {
		if err := os.Remove(filepath.Join(m.Dir, stale)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	disk := m.of.Disk
	if m.Number == switchHost || m.Number == clientHost {
		disk = 0
	}
	b, err := json.Marshal(boot{
		Disk: disk,
		Name: m.Name, Dir: m.Dir, Address: m.Address, Gateway: m.of.address(switchHost), Forward: m.Number == switchHost, Tied: m.of.Tied,
		Path: filepath.Dir(m.of.Shoal) + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(m.Dir, bootFile), b, 0o600); err != nil {
		return err
	}
	if err := makeGroup(m.of.cgroup(), m.Name); err != nil {
		return err
	}
	c, err := m.startInit()
	if err != nil {
		return err
	}
	defer m.of.tie(m.Name, c)
	if err := joinGroup(m.of.cgroup()+"/"+m.Name, c.pid); err != nil {
		return err
	}
	if err := m.plugIn(c.pid); err != nil {
		return err
	}
	return c.release()
}

// child is an init between its start and its first answer.
type child struct {
	pid         int
	start, done *os.File // its maker's ends of the two pipes
	log         string
}

// startInit starts the machine's first process, which waits until release.
func (m *Machine) startInit() (*child, error) {
	startR, startW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer startR.Close()
	doneR, doneW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer doneW.Close()
	c := &child{start: startW, done: doneR, log: filepath.Join(m.Dir, "init.log")}
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	p, err := os.StartProcess(m.of.Shoal, []string{"shoal", InitWord, m.Dir}, &os.ProcAttr{
		Dir: "/", Env: []string{}, Files: []*os.File{null, log, log, startR, doneW},
		Sys: &syscall.SysProcAttr{
			Setsid:     true,
			Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWNET,
		},
	})
	if err != nil {
		return nil, errors.Join(err, c.start.Close(), c.done.Close())
	}
	c.pid = p.Pid
	// Its maker may live on for long: somebody has to wait, or an ended machine stays a zombie.
	go p.Wait() //nolint:errcheck // how an init ended tells nothing
	return c, m.remember(c.pid)
}

func (m *Machine) remember(pid int) error {
	start, err := startTime(pid)
	if err != nil {
		return err
	}
	b, err := json.Marshal(process{pid, start})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(m.Dir, initPID), b, 0o600)
}

// release lets the init build its view of the file system, and returns when it answers calls.
func (c *child) release() error {
	if _, err := c.start.Write([]byte{1}); err != nil {
		return err
	}
	if err := c.done.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	var word [2]byte
	n, err := c.done.Read(word[:])
	if string(word[:n]) == "ok" {
		return nil
	}
	why, _ := os.ReadFile(c.log)
	return fmt.Errorf("its first process says: %s (%w)", bytes.TrimSpace(why), err)
}

// tie closes what is left of a start. An init that is tied to this process ends when its start pipe is closed, so that end is
// kept until the machine is off.
func (p *Playground) tie(name string, c *child) {
	c.done.Close()
	if !p.Tied {
		c.start.Close()
		return
	}
	p.untie(name)
	p.ties[name] = c.start
}

func (p *Playground) untie(name string) {
	if f := p.ties[name]; f != nil {
		f.Close()
	}
	delete(p.ties, name)
}

// pid returns the init's process number in this process's own PID namespace; 0: the machine is off.
func (m *Machine) pid() int {
	b, err := os.ReadFile(filepath.Join(m.Dir, initPID))
	if err != nil {
		return 0
	}
	var p process
	if json.Unmarshal(b, &p) != nil || p.PID == 0 {
		return 0
	}
	if start, err := startTime(p.PID); err != nil || start != p.Start {
		return 0
	}
	return p.PID
}

// On says whether the machine runs.
func (m *Machine) On() bool { return m.pid() != 0 }

// Off cuts the power: every process of the machine dies at once, and nothing is left of it but its disk. A machine that is
// off stays so.
func (m *Machine) Off() error {
	if m.Number != switchHost {
		if err := m.of.unplug(m); err != nil {
			return err
		}
	}
	if pid := m.pid(); pid != 0 {
		if err := m.Resume(); err != nil { // what stands still does not end either
			return err
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err == nil {
			defer unix.Close(fd)
			if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("machine %s: %w", m.Name, err)
			}
			// An init ends when the last process of its PID namespace has.
			if err := ended(fd, 20*time.Second); err != nil {
				return fmt.Errorf("machine %s: %w", m.Name, err)
			}
		} else if !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("machine %s: %w", m.Name, err)
		}
	}
	m.of.untie(m.Name)
	for _, stale := range []string{initSocket, daemonSocket, initPID, diskDevice} {
		if err := os.Remove(filepath.Join(m.Dir, stale)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Remove turns the machine off and removes its disk and its control groups.
func (m *Machine) Remove() error {
	if err := m.Off(); err != nil {
		return err
	}
	return errors.Join(removeGroup(m.of.cgroup()+"/"+m.Name), os.RemoveAll(m.Dir))
}

// ended waits until the process behind a pidfd is gone.
func ended(fd int, limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("still ends after %v", limit)
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if n > 0 {
			return nil
		}
	}
}

// startTime is the 22nd field of /proc/PID/stat (proc(5)); the second may hold blanks and brackets of its own.
func startTime(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 20 || f[0] == "Z" || f[0] == "X" {
		return 0, fmt.Errorf("process %d is gone", pid)
	}
	return strconv.ParseUint(f[19], 10, 64)
}
