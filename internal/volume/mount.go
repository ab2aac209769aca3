package volume

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/continuity/fs"
	"github.com/containerd/errdefs"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"shoal/internal/cluster"
)

// options of the local driver: what mount(8) calls type, options and device. size is for quotas, which we have none of.
var options = []string{"type", "o", "device"}

func checkOptions(o map[string]string) error {
	for k := range o {
		if !slices.Contains(options, k) {
			return cluster.Errorf(errdefs.ErrInvalidArgument, "invalid option: %q", k)
		}
	}
	if len(o) == 0 {
		return nil
	}
	if o["device"] == "" {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "missing device in volume options")
	}
	if o["type"] == "" && !slices.Contains(strings.Split(o["o"], ","), "bind") {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "missing required option: %q", "type")
	}
	return nil
}

// Mount makes the volume usable by user (a container's ID) and returns its directory on the host. A volume with
// options is mounted at its first user. Calls with the same user count once, so it may be called again after a restart
// of the daemon. ErrNotFound: no such volume. After an error the user does not count.
func (s *Store) Mount(ctx context.Context, name, user string) (string, error) {
	e, err := s.entry(name)
	if err != nil {
		return "", err
	}
	e.busy.Lock()
	defer e.busy.Unlock()
	if e.gone {
		return "", cluster.Errorf(errdefs.ErrNotFound, "get %s: no such volume", name)
	}
	if len(e.Options) > 0 && len(e.users) == 0 {
		if err := s.mount(ctx, e); err != nil {
			return "", err
		}
	}
	e.users[user] = true
	return s.data(name), nil
}

// Unmount ends user's use of the volume; the last one unmounts it. No error if there is no such volume or use.
func (s *Store) Unmount(name, user string) error {
	e, err := s.entry(name)
	if err != nil {
		return nil //nolint:nilerr // nothing is mounted of what does not exist
	}
	e.busy.Lock()
	defer e.busy.Unlock()
	if !e.users[user] {
		return nil
	}
	delete(e.users, user)
	if len(e.users) > 0 {
		return nil
	}
	return s.unmount(e)
}

// mount does what the options say, unless an earlier life of the daemon did.
func (s *Store) mount(ctx context.Context, e *entry) error {
	dir := s.data(e.name)
	if ok, err := mountinfo.Mounted(dir); err != nil || ok {
		return err
	}
	m := mount.Mount{Type: e.Options["type"], Source: e.Options["device"]}
	if o := e.Options["o"]; o != "" {
		m.Options = strings.Split(o, ",")
	}
	if slices.Contains(m.Options, "bind") && m.Type == "none" {
		m.Type = "bind"
	}
	if strings.HasPrefix(m.Type, "nfs") || m.Type == "cifs" {
		resolved, err := resolveAddr(ctx, m.Options)
		if err != nil {
			return fmt.Errorf("mount volume %s: %w", e.name, err)
		}
		m.Options = resolved
	}
	if err := m.Mount(dir); err != nil {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "failed to mount local volume: mount %s:%s, data: %s: %s",
			e.Options["device"], dir, e.Options["o"], err)
	}
	return nil
}

// resolveAddr replaces a host name in the option addr: the kernel's nfs and cifs take only addresses there.
func resolveAddr(ctx context.Context, opts []string) ([]string, error) {
	out := slices.Clone(opts)
	for i, o := range out {
		host, ok := strings.CutPrefix(o, "addr=")
		if !ok || net.ParseIP(host) != nil {
			continue
		}
		addrs, err := net.DefaultResolver.LookupHost(ctx, host)
		if err != nil {
			return nil, err
		}
		out[i] = "addr=" + addrs[0]
	}
	return out, nil
}

func (s *Store) unmount(e *entry) error {
	if len(e.Options) == 0 {
		return nil
	}
	if err := mount.UnmountAll(s.data(e.name), unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount volume %s: %w", e.name, err)
	}
	return nil
}

// Populate copies what is in the directory src, with owners, modes and attributes, into the volume if that is empty,
// and gives the volume's own directory the owner and mode of src. The caller has the volume mounted. After an error a
// part may be there, and a later call does not add the rest.
func (s *Store) Populate(name, src string) error {
	e, err := s.entry(name)
	if err != nil {
		return err
	}
	e.busy.Lock()
	defer e.busy.Unlock()
	dst := s.data(name)
	left, err := os.ReadDir(dst)
	if err != nil {
		return fmt.Errorf("volume %s: %w", name, err)
	}
	if len(left) > 0 {
		return nil
	}
	if info, err := os.Stat(src); err != nil || !info.IsDir() {
		return nil //nolint:nilerr // the image has no directory there
	}
	if err := fs.CopyDir(dst, filepath.Clean(src)); err != nil {
		return fmt.Errorf("copy the image's content into volume %s: %w", name, err)
	}
	return nil
}
