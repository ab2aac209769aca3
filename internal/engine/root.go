package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	apimount "github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/volume"
	"github.com/moby/sys/user"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"shoal/internal/cluster"
)

// makeVolumes creates the volumes that the container names and gives the anonymous ones their names.
func (e *Engine) makeVolumes(c *Container) error {
	rec := c.Record()
	all, err := mountings(rec.Config, rec.HostConfig)
	if err != nil {
		return err
	}
	points := slices.Clone(rec.Mounts)
	for i, m := range all {
		if m.Type != apimount.TypeVolume {
			continue
		}
		req := volume.CreateRequest{Name: m.Source}
		if m.Source == "" {
			req.Name, req.Labels = newID(), map[string]string{anonymousLabel: ""}
		}
		if o := m.Volume; o != nil {
			req.Labels = union(req.Labels, o.Labels)
			if o.DriverConfig != nil {
				req.Driver, req.DriverOpts = o.DriverConfig.Name, o.DriverConfig.Options
			}
		} else if rec.HostConfig.VolumeDriver != "" {
			req.Driver = rec.HostConfig.VolumeDriver
		}
		v, err := e.cfg.Volumes.Create(req)
		if err != nil {
			return err
		}
		points[i].Name, points[i].Source = v.Name, v.Mountpoint
	}
	return c.update(func(r *Record) { r.Mounts = points })
}

// anonymousLabel marks volumes that were made for one container, as Docker does.
const anonymousLabel = "com.docker.volume.anonymous"

// prepareRoot looks into the container's root for its user and its volumes' first content, and returns the mounts.
func (c *Container) prepareRoot(ctx context.Context, rec Record, all []mounting) (u User, out []specs.Mount, err error) {
	lower, err := c.engine.cfg.Containerd.Client().SnapshotService(snapshotter).Mounts(ctx, rec.ID)
	if err != nil {
		return u, nil, fmt.Errorf("root of the container: %w", err)
	}
	look := func(root string) error {
		dir, err := os.OpenRoot(root) // an absolute link in the image must not lead to the node
		if err != nil {
			return err
		}
		defer dir.Close()
		if u, err = findUser(dir, rec.Config.User, rec.HostConfig.GroupAdd); err != nil {
			return err
		}
		out, err = c.resolveMounts(ctx, rec, all, root, dir)
		return err
	}
	err = within(look, func(f func(string) error) error { return mount.WithReadonlyTempMount(ctx, lower, f) })
	return u, out, err
}

// within has mounted call f with a folder, and returns f's own error if there is one: mounted's would speak of that folder,
// which is gone, before it comes to the point.
func within(f func(string) error, mounted func(func(string) error) error) error {
	var own error
	err := mounted(func(dir string) error { own = f(dir); return own })
	if own != nil {
		return own
	}
	return err
}

// resolveMounts finds the directories that binds and volumes lead to.
func (c *Container) resolveMounts(ctx context.Context, rec Record, all []mounting, root string, dir *os.Root) ([]specs.Mount, error) {
	var out []specs.Mount
	for i, m := range all {
		source := m.Source
		switch m.Type {
		case apimount.TypeBind:
			if _, err := os.Stat(source); errors.Is(err, os.ErrNotExist) {
				if !m.Create {
					return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "invalid mount config for type %q: bind source path does not exist: %s", m.Type, source)
				}
				if err := os.MkdirAll(source, 0o755); err != nil {
					return nil, fmt.Errorf("error while creating mount source path '%s': %w", source, err)
				}
			} else if err != nil {
				return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "invalid mount config for type %q: %s", m.Type, err)
			}
		case apimount.TypeVolume:
			var err error
			if source, err = c.engine.cfg.Volumes.Mount(ctx, rec.Mounts[i].Name, rec.ID); err != nil {
				return nil, err
			}
			if info, err := dir.Stat(strings.TrimPrefix(m.Target, "/")); err == nil && info.IsDir() && !m.NoCopy {
				if err := c.engine.cfg.Volumes.Populate(rec.Mounts[i].Name, filepath.Join(root, m.Target)); err != nil {
					return nil, err
				}
			}
			if m.Subpath != "" {
				if source, err = subpath(source, m.Subpath); err != nil {
					return nil, err
				}
			}
		}
		out = append(out, m.spec(source))
	}
	return out, nil
}

// subpath is a directory inside a volume; links must not lead out of it.
func subpath(dir, sub string) (string, error) {
	r, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer r.Close()
	if _, err := r.Stat(sub); err != nil {
		return "", cluster.Errorf(errdefs.ErrInvalidArgument, "cannot access path %s: %s", filepath.Join(dir, sub), err)
	}
	full, err := filepath.EvalSymlinks(filepath.Join(dir, sub))
	if err != nil || !strings.HasPrefix(full+"/", dir+"/") {
		return "", cluster.Errorf(errdefs.ErrInvalidArgument, "path %s leads out of its volume", sub)
	}
	return full, nil
}

// findUser resolves names by the image's own files.
func findUser(root *os.Root, name string, groups []string) (User, error) {
	passwd, group := openOr(root, "etc/passwd"), openOr(root, "etc/group")
	defer passwd.Close()
	defer group.Close()
	u, err := user.GetExecUser(name, &user.ExecUser{Home: "/"}, passwd, group)
	if err != nil {
		return User{}, cluster.Errorf(errdefs.ErrInvalidArgument, "%s", err) // "unable to find user x: …"
	}
	out := User{UID: uint32(u.Uid), GID: uint32(u.Gid), Home: u.Home}
	for _, g := range u.Sgids {
		out.Groups = append(out.Groups, uint32(g))
	}
	if len(groups) > 0 {
		again := openOr(root, "etc/group")
		defer again.Close()
		more, err := user.GetAdditionalGroups(groups, again)
		if err != nil {
			return User{}, cluster.Errorf(errdefs.ErrInvalidArgument, "%s", err)
		}
		slices.Sort(more)
		for _, g := range more {
			if !slices.Contains(out.Groups, uint32(g)) {
				out.Groups = append(out.Groups, uint32(g))
			}
		}
	}
	return out, nil
}

// openOr opens a file of the image, or an empty one when there is none.
func openOr(root *os.Root, name string) *os.File {
	f, err := root.Open(name)
	if err != nil {
		f, _ = os.Open(os.DevNull)
	}
	return f
}
