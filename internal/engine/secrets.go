package engine

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"text/template"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/sys/mountinfo"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"shoal/internal/cluster"
)

// findSecret and findConfig look into what the node has been told.
func findSecret(known cluster.Secrets, id string) (*cluster.Secret, bool) {
	i := slices.IndexFunc(known.Secrets, func(s cluster.Secret) bool { return s.ID == id })
	if i < 0 {
		return nil, false
	}
	return &known.Secrets[i], true
}

func findConfig(known cluster.Secrets, id string) (*cluster.Config, bool) {
	i := slices.IndexFunc(known.Configs, func(c cluster.Config) bool { return c.ID == id })
	if i < 0 {
		return nil, false
	}
	return &known.Configs[i], true
}

// file is a secret or a config as the container sees it.
type file struct {
	target   string
	data     []byte
	uid, gid int
	mode     os.FileMode
}

// taskFiles are the files that a task's secrets and configs make. ErrNotFound: the node has not been told of one.
func taskFiles(a cluster.Assignment, hostname string, known cluster.Secrets) ([]file, error) {
	spec := a.Spec.ContainerSpec
	if spec == nil || len(spec.Secrets)+len(spec.Configs) == 0 {
		return nil, nil
	}
	t := newTemplates(a, hostname)
	lookup := templateSources(spec, known)
	var out []file
	for _, ref := range spec.Secrets {
		s, ok := findSecret(known, ref.SecretID)
		if !ok {
			return nil, cluster.Errorf(errdefs.ErrNotFound, "secret %s (%s) not found", ref.SecretName, ref.SecretID)
		}
		if ref.File == nil {
			continue
		}
		f, err := newFile(ref.File.Name, "/run/secrets", ref.File.UID, ref.File.GID, ref.File.Mode)
		if err != nil {
			return nil, err
		}
		f.data = fill(t, s.Spec.Data, s.Spec.Templating, lookup)
		out = append(out, f)
	}
	for _, ref := range spec.Configs {
		c, ok := findConfig(known, ref.ConfigID)
		if !ok {
			return nil, cluster.Errorf(errdefs.ErrNotFound, "config %s (%s) not found", ref.ConfigName, ref.ConfigID)
		}
		if ref.File == nil {
			continue // a credential spec, which is Windows'
		}
		f, err := newFile(ref.File.Name, "/", ref.File.UID, ref.File.GID, ref.File.Mode)
		if err != nil {
			return nil, err
		}
		f.data = fill(t, c.Spec.Data, c.Spec.Templating, lookup)
		out = append(out, f)
	}
	return out, t.err
}

func fill(t *templates, data []byte, driver *swarm.Driver, functions template.FuncMap) []byte {
	if driver == nil || driver.Name != "golang" {
		return data
	}
	return []byte(t.expandWith(string(data), functions))
}

// templateSources are the functions of a templated file: the task's other files by the name they have in it, and its
// environment.
func templateSources(spec *swarm.ContainerSpec, known cluster.Secrets) template.FuncMap {
	return template.FuncMap{
		"secret": func(target string) (string, error) {
			for _, r := range spec.Secrets {
				if s, ok := findSecret(known, r.SecretID); ok && r.File != nil && r.File.Name == target {
					return string(s.Spec.Data), nil
				}
			}
			return "", cluster.Errorf(errdefs.ErrNotFound, "secret target %s not found", target)
		},
		"config": func(target string) (string, error) {
			for _, r := range spec.Configs {
				if c, ok := findConfig(known, r.ConfigID); ok && r.File != nil && r.File.Name == target {
					return string(c.Spec.Data), nil
				}
			}
			return "", cluster.Errorf(errdefs.ErrNotFound, "config target %s not found", target)
		},
		"env": func(name string) string {
			for _, e := range spec.Env {
				if len(e) > len(name) && e[:len(name)+1] == name+"=" {
					return e[len(name)+1:]
				}
			}
			return ""
		},
	}
}

func newFile(name, dir, uid, gid string, mode os.FileMode) (file, error) {
	f := file{target: name, mode: mode}
	if !path.IsAbs(f.target) {
		f.target = path.Join(dir, name)
	}
	f.target = path.Clean(f.target)
	for _, id := range []struct {
		text string
		to   *int
	}{{uid, &f.uid}, {gid, &f.gid}} {
		if id.text == "" {
			continue
		}
		n, err := strconv.Atoi(id.text)
		if err != nil || n < 0 {
			return f, cluster.Errorf(errdefs.ErrInvalidArgument, "invalid owner %q of file %s", id.text, name)
		}
		*id.to = n
	}
	return f, nil
}

// vault is where the files of running containers lie: in memory, never on disk.
func (e *Engine) vault() string { return filepath.Join(e.cfg.ExecRoot, "secrets") }

// openVault mounts the tmpfs that holds secrets, unless an earlier daemon has left it.
func (e *Engine) openVault() error {
	if err := os.MkdirAll(e.vault(), 0o700); err != nil {
		return fmt.Errorf("directory of secrets: %w", err)
	}
	if mounted, err := mountinfo.Mounted(e.vault()); err != nil || mounted {
		return err
	}
	if err := unix.Mount("tmpfs", e.vault(), "tmpfs", unix.MS_NOEXEC|unix.MS_NOSUID|unix.MS_NODEV, "mode=0700"); err != nil {
		return fmt.Errorf("mount the memory that holds secrets: %w", err)
	}
	return nil
}

// writeFiles puts a container's files into the vault and returns their mounts.
func (e *Engine) writeFiles(id string, files []file) ([]specs.Mount, error) {
	if len(files) == 0 {
		return nil, nil
	}
	if err := e.openVault(); err != nil {
		return nil, err
	}
	dir := filepath.Join(e.vault(), id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("directory of secrets: %w", err)
	}
	var out []specs.Mount
	for i, f := range files {
		p := filepath.Join(dir, strconv.Itoa(i))
		os.Remove(p)
		if err := os.WriteFile(p, f.data, 0o600); err != nil {
			return nil, fmt.Errorf("write %s: %w", f.target, err)
		}
		if err := os.Chown(p, f.uid, f.gid); err != nil {
			return nil, fmt.Errorf("owner of %s: %w", f.target, err)
		}
		if err := os.Chmod(p, f.mode&os.ModePerm); err != nil {
			return nil, fmt.Errorf("mode of %s: %w", f.target, err)
		}
		out = append(out, specs.Mount{Destination: f.target, Type: "bind", Source: p, Options: []string{"bind", "rprivate", "ro", "nosuid", "nodev", "noexec"}})
	}
	return out, nil
}

func (e *Engine) dropFiles(id string) { os.RemoveAll(filepath.Join(e.vault(), id)) }
