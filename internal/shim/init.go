package shim

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// InitPath is where the binary stands inside a container made with --init; called by that name it is [Init].
const InitPath = "/sbin/docker-init"

// Init is process 1 of a container made with --init: it runs args as its child, passes signals on to it, reaps whatever
// else ends, and returns the exit code to end with when the child has ended (128 and the signal's number when one
// killed it; 127 and 126 when it could not be run, with the reason on stderr).
func Init(args []string, stderr io.Writer) int {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		fmt.Fprintln(stderr, "docker-init: no command")
		return 127
	}
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	path, err := exec.LookPath(args[0])
	if err != nil {
		return refused(stderr, args[0], err)
	}
	attr := &syscall.SysProcAttr{Setpgid: true}
	if _, err := unix.IoctlGetTermios(0, unix.TCGETS); err == nil {
		attr.Foreground, attr.Ctty = true, 0 // the child gets the terminal's signals
	}
	child, err := syscall.ForkExec(path, args, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: attr})
	if err != nil {
		return refused(stderr, args[0], err)
	}
	for s := range signals {
		switch s {
		case syscall.SIGURG: // Go's own, for its scheduler
		case syscall.SIGTTIN, syscall.SIGTTOU: // ours, when the child holds the terminal
		case syscall.SIGCHLD:
			if code, ended := reap(child); ended {
				return code
			}
		default:
			_ = syscall.Kill(child, s.(syscall.Signal)) // it may have ended already
		}
	}
	return 0 // not reached: nobody closes signals
}

// reap collects every process that has ended. Several may share one SIGCHLD.
func reap(child int) (code int, ended bool) {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if pid <= 0 || err != nil {
			return code, ended
		}
		if pid == child && (status.Exited() || status.Signaled()) {
			ended = true
			code = status.ExitStatus()
			if status.Signaled() {
				code = 128 + int(status.Signal())
			}
		}
	}
}

func refused(w io.Writer, name string, err error) int {
	fmt.Fprintf(w, "docker-init: cannot run %s: %v\n", name, err)
	if errors.Is(err, os.ErrPermission) {
		return 126
	}
	return 127
}
