package kernel

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"shoal/internal/network/plan"
)

// In runs do on a thread that is in the namespace. What do opens stays there; it must not start goroutines that rely on
// it. A thread that cannot find back is given up, never reused.
func (k *Kernel) In(ns plan.NS, do func() error) error {
	s, err := k.space(ns)
	if err != nil {
		return err
	}
	return onThread(func() error {
		if err := unix.Setns(int(s.fd), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace %q: %w", ns, err)
		}
		return do()
	})
}

// onThread runs do on a thread of its own and brings the thread back to where the process is.
func onThread(do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := unix.Open("/proc/self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			runtime.UnlockOSThread()
			done <- err
			return
		}
		defer unix.Close(home)
		err = do()
		if unix.Setns(home, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// pin makes a network namespace and a file that keeps it.
func (k *Kernel) pin(ns plan.NS) error {
	path := k.Path(ns)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o400)
	if err != nil {
		return err
	}
	_ = f.Close()
	err = onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		return unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
	})
	if err != nil {
		_ = os.Remove(path)
		return fmt.Errorf("make network namespace %q: %w", ns, err)
	}
	return nil
}

func (k *Kernel) unpin(ns plan.NS) error {
	k.Forget(ns)
	path := k.Path(ns)
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && err != unix.EINVAL && err != unix.ENOENT {
		return &os.PathError{Op: "unmount", Path: path, Err: err}
	}
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

func (k *Kernel) sysctls(ns plan.NS, items []plan.Sysctl) error {
	return k.In(ns, func() error {
		for _, s := range items {
			if ns == plan.HostNS && s.Path == forwarding6 {
				if err := keepAdvertisements(); err != nil {
					return err
				}
			}
			if err := os.WriteFile(filepath.Join("/proc/sys", s.Path), []byte(s.Value), 0o644); err != nil && !(os.IsNotExist(err) && isV6(s.Path)) {
				return err
			}
		}
		return nil
	})
}

// isV6: a kernel without IPv6 has no such files, and nothing to switch off.
func isV6(path string) bool { return len(path) > 8 && path[:8] == "net/ipv6" }

// forwarding6 makes the node a router of IPv6.
const forwarding6 = "net/ipv6/conf/all/forwarding"

// keepAdvertisements lets links that take their routes from router advertisements go on so when the node becomes a router
// itself, which would make it forget its own way out: accept_ra 1 means "not as a router", 2 always.
func keepAdvertisements() error {
	files, err := filepath.Glob("/proc/sys/net/ipv6/conf/*/accept_ra")
	if err != nil {
		return err
	}
	for _, f := range files {
		if b, err := os.ReadFile(f); err != nil || strings.TrimSpace(string(b)) != "1" {
			continue // gone, or somebody has decided
		}
		if err := os.WriteFile(f, []byte("2"), 0o644); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}
