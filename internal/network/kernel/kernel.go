package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/google/nftables"
	mdlayher "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"shoal/internal/network/plan"
)

// Kernel is the network of this machine as seen from the namespace that the process runs in.
type Kernel struct {
	dir, host string
	tunnels   Tunnels // nil: no WireGuard devices

	mu   sync.Mutex
	open map[plan.NS]*space
}

// Open uses dir for the pins of network namespaces: files that keep them alive without a process. The host's namespace is
// the one at the path host; empty: the process's own.
func Open(dir, host string) (*Kernel, error) {
	if host == "" {
		host = "/proc/self/ns/net"
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, err
	}
	return &Kernel{dir: dir, host: host, open: map[plan.NS]*space{}}, nil
}

// Path is where a namespace is pinned; empty for the host's.
func (k *Kernel) Path(ns plan.NS) string {
	if ns == plan.HostNS {
		return ""
	}
	return filepath.Join(k.dir, string(ns))
}

// Pins lists the namespaces that are pinned and alive. A pin whose namespace is gone, after a reboot, is removed.
func (k *Kernel) Pins() ([]plan.NS, error) {
	entries, err := os.ReadDir(k.dir)
	if err != nil {
		return nil, err
	}
	var out []plan.NS
	for _, e := range entries {
		var fs unix.Statfs_t
		path := filepath.Join(k.dir, e.Name())
		if err := unix.Statfs(path, &fs); err != nil {
			return nil, &os.PathError{Op: "statfs", Path: path, Err: err}
		}
		if fs.Type != unix.NSFS_MAGIC {
			if err := os.Remove(path); err != nil {
				return nil, err
			}
			continue
		}
		out = append(out, plan.NS(e.Name()))
	}
	return out, nil
}

// Close closes what is open. The kernel keeps what was made.
func (k *Kernel) Close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range k.open {
		s.close()
	}
	clear(k.open)
}

// Forget closes the sockets into one namespace: a container's, once it is set up.
func (k *Kernel) Forget(ns plan.NS) {
	k.mu.Lock()
	s := k.open[ns]
	delete(k.open, ns)
	k.mu.Unlock()
	if s != nil {
		s.close()
	}
}

// space is the sockets into one namespace.
type space struct {
	fd    netns.NsHandle
	links *netlink.Handle
	once  sync.Once
	nft   *nftables.Conn
	err   error
}

func (s *space) close() {
	s.links.Close()
	if s.nft != nil {
		_ = s.nft.CloseLasting()
	}
	_ = s.fd.Close()
}

func (k *Kernel) space(ns plan.NS) (*space, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s := k.open[ns]; s != nil {
		return s, nil
	}
	path := k.Path(ns)
	if ns == plan.HostNS {
		path = k.host
	}
	fd, err := netns.GetFromPath(path)
	if err != nil {
		return nil, fmt.Errorf("network namespace %q: %w", ns, err)
	}
	links, err := netlink.NewHandleAt(fd, unix.NETLINK_ROUTE)
	if err != nil {
		_ = fd.Close()
		return nil, fmt.Errorf("netlink in %q: %w", ns, err)
	}
	s := &space{fd: fd, links: links}
	k.open[ns] = s
	return s, nil
}

// tables is the nftables socket, opened at first use. The kernel acknowledges each message while it takes a batch in, so
// a default buffer overflows at two hundred (ENOBUFS).
func (s *space) tables() (*nftables.Conn, error) {
	s.once.Do(func() {
		room := func(c *mdlayher.Conn) error { return errors.Join(c.SetReadBuffer(32<<20), c.SetWriteBuffer(32<<20)) }
		s.nft, s.err = nftables.New(nftables.AsLasting(), nftables.WithNetNSFd(int(s.fd)), nftables.WithSockOptions(room))
	})
	return s.nft, s.err
}

// drop closes the nftables socket after an error that left its state unknown.
func (k *Kernel) drop(ns plan.NS) { k.Forget(ns) }

// IsContainer tells the namespaces of containers from those of networks.
func IsContainer(ns plan.NS) bool { return strings.HasPrefix(string(ns), "c-") }
