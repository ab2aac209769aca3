package quickstart

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// diskNeeded is what the cluster takes, five managers' logs and containerds included, with room to play.
const diskNeeded = 1 << 30

// preflight looks for what would stop the story half-way: programs that are missing, a taken port, a playground that is there
// already, a full disk. What machines use among themselves (2377, 4789) need not be free here: each has a network of its own.
func (s *Story) preflight() error {
	for _, program := range []string{"containerd", "containerd-shim-shoal-v1", "runc", "shoal-sample"} {
		if _, err := os.Stat(filepath.Join(filepath.Dir(s.Self), program)); err != nil {
			return fmt.Errorf("%s is missing beside %s: 'make build' makes it", program, s.Self)
		}
	}
	if _, err := os.Stat(s.forwarder().pidFile); err == nil {
		return fmt.Errorf("an earlier quickstart is still there, in %s: remove it with %q, or use it (shoal playground status)", s.Dir, s.removeLine())
	}
	if _, err := os.Stat(filepath.Join(s.Dir, "playground.json")); err == nil {
		return fmt.Errorf("%s holds a playground already: remove it (%s playground --dir %s down), or choose another folder with --dir", s.Dir, s.Self, s.Dir)
	}
	if !free(s.address()) {
		return fmt.Errorf("port %d of 127.0.0.1 is taken by another program, and leads to the sample service here: choose another with --port "+
			"(make quickstart is '%s quickstart')", s.Port, s.Self)
	}
	if left, err := diskFree(s.Dir); err == nil && left < diskNeeded {
		return fmt.Errorf("%d MiB of disk are free for %s, and the cluster wants %d: free some, or choose another folder with --dir", left>>20, s.Dir, diskNeeded>>20)
	}
	return nil
}

// address is where the sample service is reached on this machine.
func (s *Story) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)) }

// free says whether a TCP server may listen on addr.
func free(addr string) bool {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	l.Close()
	return true
}

// diskFree is how many bytes may be written below dir, which need not be there yet.
func diskFree(dir string) (uint64, error) {
	for {
		var fs unix.Statfs_t
		err := unix.Statfs(dir, &fs)
		if err == nil {
			return fs.Bavail * uint64(fs.Bsize), nil
		}
		if dir == filepath.Dir(dir) {
			return 0, err
		}
		dir = filepath.Dir(dir)
	}
}
