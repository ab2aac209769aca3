package playground

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// InitWord is the hidden first word by which the binary becomes a machine's first process.
const InitWord = "playground-init"

// Files of a machine, in its folder.
const (
	bootFile     = "boot.json"
	initPID      = "init.pid"
	initSocket   = "init.sock"
	daemonSocket = "docker.sock"
	daemonPID    = "daemon.pid"
	daemonLog    = "daemon.log"
)

// Inherited pipes: the first brings a byte when the maker is ready (and ends with it), the second takes "ok".
const (
	startFD = 3
	doneFD  = 4
)

// Init is a machine's first process. It gets the machine's folder as its argument and serves calls until it is killed. It runs
// twice: first it waits until its maker has put it into its control groups, then it makes a cgroup namespace of them and
// executes itself, since a namespace belongs to a thread and only execve makes one thread of many.
func Init(args []string) int {
	if len(args) == 0 || os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "shoal: this word is the playground's own")
		return 2
	}
	var err error
	if len(args) == 1 {
		err = firstStage(args[0])
	} else {
		err = secondStage(args[0])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func firstStage(dir string) error {
	var b [1]byte
	if n, err := syscall.Read(startFD, b[:]); n != 1 {
		return fmt.Errorf("the maker is gone: %w", errors.Join(err))
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("cgroup namespace: %w", err)
	}
	return unix.Exec("/proc/self/exe", []string{"shoal", InitWord, dir, "again"}, []string{})
}

func secondStage(dir string) error {
	syscall.CloseOnExec(startFD)
	syscall.CloseOnExec(doneFD)
	data, err := os.ReadFile(filepath.Join(dir, bootFile))
	if err != nil {
		return err
	}
	var b boot
	if err := json.Unmarshal(data, &b); err != nil {
		return fmt.Errorf("%s: %w", bootFile, err)
	}
	if err := unix.Sethostname([]byte(b.Name)); err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	if err := b.mountAll(); err != nil {
		return err
	}
	if b.Disk != 0 {
		if err := b.mountDisk(); err != nil {
			return err
		}
	}
	if err := b.writeEtc(); err != nil {
		return err
	}
	if b.Forward {
		// Unknown destinations are then refused at once, instead of being waited for.
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
			return err
		}
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, initSocket), Net: "unix"})
	if err != nil {
		return err
	}
	if _, err := syscall.Write(doneFD, []byte("ok")); err != nil {
		return err
	}
	syscall.Close(doneFD)
	if b.Tied {
		go endWithMaker()
	}
	return serve(l, b)
}

// endWithMaker ends the machine when the pipe to its maker does, however the maker ended.
func endWithMaker() {
	var b [1]byte
	for {
		n, err := syscall.Read(startFD, b[:])
		if n == 0 && err == nil || err != nil && !errors.Is(err, syscall.EINTR) {
			os.Exit(0)
		}
	}
}

// writeEtc gives the machine its own names. Its /etc is an overlay, so the host's files stay as they are.
func (b boot) writeEtc() error {
	files := map[string]string{
		"/etc/hostname":    b.Name + "\n",
		"/etc/hosts":       fmt.Sprintf("127.0.0.1 localhost\n::1 localhost\n%s %s\n", b.Address, b.Name),
		"/etc/resolv.conf": fmt.Sprintf("nameserver %s\noptions timeout:1 attempts:1\n", b.Gateway),
	}
	for name, text := range files {
		// The host's may be a link to somewhere below /run.
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// environment of every command on a machine, unless the call says otherwise.
func (b boot) environment(call []string) []string {
	env := []string{"PATH=" + b.Path, "HOME=/root", "HOSTNAME=" + b.Name, "LANG=C.UTF-8"}
	for _, e := range call {
		key, _, _ := strings.Cut(e, "=")
		kept := env[:0]
		for _, old := range env {
			if !strings.HasPrefix(old, key+"=") {
				kept = append(kept, old)
			}
		}
		env = append(kept, e)
	}
	return env
}
