package engine

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"shoal/internal/cluster"
)

// maxLinks is how many links a path may lead through, as in the kernel (path_resolution(7)).
const maxLinks = 40

// inside calls f with the container's file system: as its processes see it while it runs, else its snapshot, without
// its volumes. Links in it cannot lead out.
func (c *Container) inside(ctx context.Context, f func(*os.Root) error) error {
	open := func(dir string) error {
		root, err := os.OpenRoot(dir)
		if err != nil {
			return fmt.Errorf("files of container %s: %w", c.ID(), err)
		}
		defer root.Close()
		return f(root)
	}
	if rec := c.Record(); rec.State.Running() {
		return open(filepath.Join("/proc", strconv.Itoa(rec.State.Pid), "root"))
	}
	ctx = namespaces.WithNamespace(ctx, Namespace)
	mounts, err := c.engine.cfg.Containerd.Client().SnapshotService(snapshotter).Mounts(ctx, c.ID())
	if err != nil {
		return fmt.Errorf("files of container %s: %w", c.ID(), err)
	}
	return within(open, func(f func(string) error) error { return mount.WithTempMount(ctx, mounts, f) })
}

// resolve follows the links in a path, as a process in the container would, and returns the path without any, relative
// to the root. The last element is followed only if last says so. It may name nothing.
func resolve(root *os.Root, name string, last bool) (string, error) {
	todo := strings.Split(path.Clean("/" + name)[1:], "/")
	done := "."
	for links := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			done = path.Dir(done)
			continue
		}
		next := path.Join(done, part)
		if len(todo) > 0 || last {
			if target, err := root.Readlink(next); err == nil {
				if links++; links > maxLinks {
					return "", &fs.PathError{Op: "open", Path: name, Err: syscall.ELOOP}
				}
				if path.IsAbs(target) {
					done = "."
				}
				todo = append(strings.Split(target, "/"), todo...)
				continue
			}
		}
		done = next
	}
	return done, nil
}

// named resolves a path that must name something. ErrNotFound in Docker's words. The last element is followed when the
// path says that it is a directory.
func (c *Container) named(root *os.Root, name string) (string, os.FileInfo, error) {
	at, err := resolve(root, name, strings.HasSuffix(name, "/") || strings.HasSuffix(name, "/."))
	var info os.FileInfo
	if err == nil {
		info, err = root.Lstat(at)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return "", nil, cluster.Errorf(errdefs.ErrNotFound, "Could not find the file %s in container %s", name, c.Name())
	}
	return at, info, err
}

// baseOf is what an archive calls its first entry, by which `docker cp` renames it: "." for the content of a directory.
func baseOf(name string) string {
	switch {
	case path.Clean("/"+name) == "/" && !strings.HasSuffix(name, "/."):
		return ""
	case strings.HasSuffix(name, "/."):
		return "."
	}
	return path.Base(path.Clean("/" + name))
}

func pathStat(root *os.Root, name, at string, info os.FileInfo) container.PathStat {
	st := container.PathStat{Name: path.Base(path.Clean("/" + name)), Size: info.Size(), Mode: info.Mode(), Mtime: info.ModTime()}
	if info.Mode()&os.ModeSymlink != 0 {
		if target, err := resolve(root, at, true); err == nil {
			st.LinkTarget = path.Join("/", target)
		}
	}
	return st
}

// Stat tells about a path in a container. ErrNotFound in Docker's words.
func (e *Engine) Stat(ctx context.Context, ref, name string) (container.PathStat, error) {
	var st container.PathStat
	c, err := e.Find(ref)
	if err != nil {
		return st, err
	}
	err = c.inside(ctx, func(root *os.Root) error {
		at, info, err := c.named(root, name)
		if err == nil {
			st = pathStat(root, name, at, info)
		}
		return err
	})
	return st, err
}

// CopyOut writes a path of a container as a tar. begin is called once with what is there, before anything is written
// to w. After an error w holds a part.
func (e *Engine) CopyOut(ctx context.Context, ref, name string, begin func(container.PathStat), w io.Writer) error {
	c, err := e.Find(ref)
	if err != nil {
		return err
	}
	return c.inside(ctx, func(root *os.Root) error {
		at, info, err := c.named(root, name)
		if err != nil {
			return err
		}
		begin(pathStat(root, name, at, info))
		return writeTree(root, at, baseOf(name), w)
	})
}

// writeTree writes what is at a path, and below it, under the name base.
func writeTree(root *os.Root, at, base string, w io.Writer) error {
	tw := tar.NewWriter(w)
	links := map[uint64]string{} // inode → the name under which it was written
	err := fs.WalkDir(root.FS(), at, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := base
		if p != at {
			name = base + "/" + strings.TrimPrefix(strings.TrimPrefix(p, at), "/")
		}
		if name == "" {
			name = "/"
		}
		info, err := root.Lstat(p)
		if err != nil {
			return ignoreGone(err)
		}
		return writeEntry(root, tw, p, name, info, links)
	})
	return errors.Join(err, tw.Close())
}

func writeEntry(root *os.Root, tw *tar.Writer, p, name string, info os.FileInfo, links map[uint64]string) error {
	target := ""
	if info.Mode()&os.ModeSymlink != 0 {
		var err error
		if target, err = root.Readlink(p); err != nil {
			return err
		}
	}
	if info.Mode()&os.ModeSocket != 0 {
		return nil // has no place in a tar
	}
	h, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	h.Name, h.Uname, h.Gname = name, "", "" // names are the node's, not the container's
	if info.IsDir() {
		h.Name = strings.TrimSuffix(name, "/") + "/"
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && info.Mode().IsRegular() && st.Nlink > 1 {
		if first, seen := links[st.Ino]; seen {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
			return tw.WriteHeader(h)
		}
		links[st.Ino] = name
	}
	if err := tw.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := root.Open(p)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyN(tw, f, h.Size) // a file that grows meanwhile is cut, one that shrinks is an error
	return err
}

// CopyOptions say how an archive is unpacked.
type CopyOptions struct {
	KeepKind bool // a directory does not replace a file, nor a file a directory
	AsUser   bool // what is made belongs to the container's user, not to whom the archive says
}

// CopyIn unpacks a tar into a directory of a container. ErrNotFound: there is no such directory. ErrInvalidArgument: it
// is none, or this is no tar. After an error a part is there.
func (e *Engine) CopyIn(ctx context.Context, ref, name string, r io.Reader, o CopyOptions) error {
	c, err := e.Find(ref)
	if err != nil {
		return err
	}
	if rec := c.Record(); rec.HostConfig.ReadonlyRootfs && !rec.State.Running() {
		return cluster.Errorf(errdefs.ErrPermissionDenied, "container rootfs is marked read-only")
	}
	return c.inside(ctx, func(root *os.Root) error {
		at, info, err := c.named(root, strings.TrimSuffix(name, "/")+"/")
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return cluster.Errorf(errdefs.ErrInvalidArgument, "extraction point is not a directory")
		}
		u := unpacker{o: o}
		if o.AsUser {
			rec := c.Record()
			if u.owner, err = findUser(root, rec.Config.User, rec.HostConfig.GroupAdd); err != nil {
				return err
			}
		}
		dir, err := root.OpenRoot(at)
		if err != nil {
			return err
		}
		defer dir.Close()
		u.dir = dir
		return u.all(tar.NewReader(r))
	})
}

// unpacker writes a tar's entries below dir.
type unpacker struct {
	dir   *os.Root
	o     CopyOptions
	owner User
}

func (u *unpacker) all(tr *tar.Reader) error {
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return cluster.Errorf(errdefs.ErrInvalidArgument, "invalid archive: %s", err)
		}
		name := path.Clean("/" + h.Name)[1:]
		if name == "" {
			continue
		}
		if err := u.one(tr, h, name); err != nil {
			if errors.Is(err, syscall.EROFS) {
				return cluster.Errorf(errdefs.ErrPermissionDenied, "mounted volume or container rootfs is marked read-only: %s", err)
			}
			return fmt.Errorf("unpack %s: %w", h.Name, err)
		}
	}
}

func (u *unpacker) one(tr *tar.Reader, h *tar.Header, name string) error {
	have, err := u.dir.Lstat(name)
	if err == nil && have.IsDir() != (h.Typeflag == tar.TypeDir) {
		if u.o.KeepKind {
			return cluster.Errorf(errdefs.ErrInvalidArgument, "cannot overwrite a directory with a file or a file with a directory: %s", name)
		}
		err = u.dir.RemoveAll(name)
	} else if err == nil && !have.IsDir() {
		err = u.dir.Remove(name)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if parent := path.Dir(name); parent != "." {
		if err := u.dir.MkdirAll(parent, 0o755); err != nil {
			return err
		}
	}
	mode := h.FileInfo().Mode()
	switch h.Typeflag {
	case tar.TypeDir:
		if err := u.dir.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	case tar.TypeReg:
		if err := u.file(tr, name); err != nil {
			return err
		}
	case tar.TypeSymlink:
		if err := u.dir.Symlink(h.Linkname, name); err != nil {
			return err
		}
	case tar.TypeLink:
		return u.dir.Link(path.Clean("/" + h.Linkname)[1:], name)
	case tar.TypeXGlobalHeader:
		return nil
	default:
		return cluster.Errorf(errdefs.ErrNotImplemented, "devices and pipes cannot be copied")
	}
	uid, gid := h.Uid, h.Gid
	if u.o.AsUser {
		uid, gid = int(u.owner.UID), int(u.owner.GID)
	}
	if err := u.dir.Lchown(name, uid, gid); err != nil || h.Typeflag == tar.TypeSymlink {
		return err
	}
	if err := u.dir.Chmod(name, mode&(fs.ModePerm|fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky)); err != nil {
		return err
	}
	return u.dir.Chtimes(name, h.ModTime, h.ModTime)
}

func (u *unpacker) file(tr *tar.Reader, name string) error {
	f, err := u.dir.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, tr)
	return errors.Join(err, f.Close())
}
