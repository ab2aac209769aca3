package containerd

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"

	"shoal/internal/cluster"
)

// Config says where the child lives.
type Config struct {
	Binary string // absolute path of containerd; not needed with Socket
	Root   string // absolute; images, snapshots and records, kept over reboots
	// State is absolute and at most 70 bytes long, as it holds unix sockets; it may be lost at reboot.
	State string
	// Socket is that of a containerd which others run (--containerd); nothing is started then. Optional.
	Socket string
	Log    *slog.Logger // optional
}

// maxState leaves room for the longest socket name below State within the kernel's 107 bytes: "/s/" and 32 digits.
const maxState = 70

func (c *Config) check() error {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Socket != "" {
		if !filepath.IsAbs(c.Socket) {
			return cluster.Errorf(errdefs.ErrInvalidArgument, "containerd socket %q is not an absolute path", c.Socket)
		}
		return nil
	}
	for _, p := range []string{c.Binary, c.Root, c.State} {
		if !filepath.IsAbs(p) {
			return cluster.Errorf(errdefs.ErrInvalidArgument, "containerd: %q is not an absolute path", p)
		}
	}
	if len(c.State) > maxState {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "containerd's state directory %q is longer than %d bytes: unix sockets in it would not work; choose a shorter --exec-root", c.State, maxState)
	}
	return nil
}

func (c *Config) socket() string {
	if c.Socket != "" {
		return c.Socket
	}
	return filepath.Join(c.State, "containerd.sock")
}

func (c *Config) config() string  { return filepath.Join(c.State, "containerd.toml") }
func (c *Config) pidFile() string { return filepath.Join(c.State, "containerd.pid") }
func (c *Config) logFile() string { return filepath.Join(c.Root, "containerd.log") }

// settings is the child's configuration. What listens outside of our directories or makes some elsewhere is off:
// NRI (/var/run/nri), opt (/opt/containerd), image verifiers; and what nobody here uses.
const settings = `version = 4
root = %[1]q
state = %[2]q
temp = %[3]q
imports = []
disabled_plugins = [
  'io.containerd.nri.v1.nri',
  'io.containerd.image-verifier.v1.bindir',
  'io.containerd.internal.v1.opt',
  'io.containerd.monitor.container.v1.restart',
  'io.containerd.snapshotter.v1.blockfile',
  'io.containerd.snapshotter.v1.erofs',
  'io.containerd.snapshotter.v1.native',
  'io.containerd.differ.v1.erofs',
  'io.containerd.mount-handler.v1.erofs',
]
[plugins.'io.containerd.server.v1.grpc']
  address = %[4]q
[plugins.'io.containerd.server.v1.ttrpc']
  address = %[5]q
[plugins.'io.containerd.shim.v1.manager']
  socket_dir = %[6]q
`

// write puts the configuration down and returns its path. The paths are quoted as Go strings, which TOML reads alike.
func (c *Config) write() (string, error) {
	for _, d := range []string{c.Root, c.State} {
		if err := os.MkdirAll(d, 0o711); err != nil {
			return "", fmt.Errorf("containerd's directory: %w", err)
		}
	}
	text := fmt.Appendf(nil, settings, filepath.Join(c.Root, "root"), filepath.Join(c.State, "state"),
		filepath.Join(c.Root, "tmp"), c.socket(), c.socket()+".ttrpc", filepath.Join(c.State, "s"))
	path := c.config()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return "", fmt.Errorf("containerd's configuration: %w", err)
	}
	return path, nil
}
