package engine

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"sort"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"shoal/internal/cluster"
)

// mounting is one mount that a container asks for, whatever way it was said in.
type mounting struct {
	Type        mount.Type
	Source      string // of a bind, or of a volume: its name, empty for an anonymous one
	Target      string
	ReadOnly    bool
	Create      bool // a missing source is made (-v), not an error (--mount)
	NoCopy      bool
	Subpath     string
	Mode        string // as it was written after the last colon, for inspect
	Propagation mount.Propagation
	Flat        bool     // without the mounts below the source
	ShallowRO   bool     // read-only does not reach the mounts below
	Options     []string // of a tmpfs
	Volume      *mount.VolumeOptions
}

var volumeName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)

// mountings gathers what Binds, Mounts, Tmpfs and the image's volumes ask for, one a target, sorted by target. What
// the user names wins over what the image declares. It is pure.
func mountings(c *container.Config, h *container.HostConfig) ([]mounting, error) {
	taken := map[string]mounting{}
	add := func(m mounting) error {
		m.Target = path.Clean(m.Target)
		if !path.IsAbs(m.Target) {
			return cluster.Errorf(errdefs.ErrInvalidArgument, "invalid mount config for type %q: invalid mount path: '%s' mount path must be absolute", m.Type, m.Target)
		}
		if m.Target == "/" {
			return cluster.Errorf(errdefs.ErrInvalidArgument, "invalid mount config for type %q: invalid specification: destination can't be '/'", m.Type)
		}
		if _, twice := taken[m.Target]; twice {
			return cluster.Errorf(errdefs.ErrInvalidArgument, "Duplicate mount point: %s", m.Target)
		}
		taken[m.Target] = m
		return nil
	}
	for _, b := range h.Binds {
		m, err := parseBind(b)
		if err == nil {
			err = add(m)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, spec := range h.Mounts {
		m, err := fromMount(spec)
		if err == nil {
			err = add(m)
		}
		if err != nil {
			return nil, err
		}
	}
	for target, opts := range h.Tmpfs {
		m := mounting{Type: mount.TypeTmpfs, Target: target, Options: tmpfsOptions(strings.Split(opts, ","))}
		if err := add(m); err != nil {
			return nil, err
		}
	}
	for target := range c.Volumes {
		clean := path.Clean(target)
		if _, named := taken[clean]; named || !path.IsAbs(clean) || clean == "/" {
			continue
		}
		taken[clean] = mounting{Type: mount.TypeVolume, Target: clean}
	}
	all := make([]mounting, 0, len(taken))
	for _, m := range taken {
		all = append(all, m)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Target < all[j].Target })
	return all, nil
}

// parseBind reads "source:target[:mode]", "name:target[:mode]" or "target".
func parseBind(b string) (mounting, error) {
	bad := cluster.Errorf(errdefs.ErrInvalidArgument, "invalid volume specification: '%s'", b)
	f := strings.Split(b, ":")
	m := mounting{Type: mount.TypeVolume, Create: true}
	switch len(f) {
	case 1:
		m.Target = f[0]
		return m, nil
	case 3:
		m.Mode = f[2]
	case 2:
	default:
		return m, bad
	}
	m.Source, m.Target = f[0], f[1]
	if m.Source == "" || m.Target == "" {
		return m, bad
	}
	if path.IsAbs(m.Source) {
		m.Type, m.Source = mount.TypeBind, path.Clean(m.Source)
	} else if !volumeName.MatchString(m.Source) {
		return m, cluster.Errorf(errdefs.ErrInvalidArgument, "%q includes invalid characters for a local volume name, only %q are allowed. If you intended to pass a host directory, use absolute path", m.Source, "[a-zA-Z0-9][a-zA-Z0-9_.-]")
	}
	if m.Mode == "" {
		return m, nil
	}
	for o := range strings.SplitSeq(m.Mode, ",") {
		switch {
		case o == "ro":
			m.ReadOnly = true
		case o == "rw", o == "z", o == "Z", o == "consistent", o == "cached", o == "delegated", o == "copy":
		case o == "nocopy" && m.Type == mount.TypeVolume:
			m.NoCopy = true
		case slices.Contains(mount.Propagations, mount.Propagation(o)) && m.Type == mount.TypeBind:
			m.Propagation = mount.Propagation(o)
		default:
			return m, cluster.Errorf(errdefs.ErrInvalidArgument, "invalid mode: %s", m.Mode)
		}
	}
	return m, nil
}

// fromMount reads the long form.
func fromMount(s mount.Mount) (mounting, error) {
	bad := func(format string, args ...any) error {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "invalid mount config for type %q: %s", s.Type, fmt.Sprintf(format, args...))
	}
	m := mounting{Type: s.Type, Source: s.Source, Target: s.Target, ReadOnly: s.ReadOnly}
	if s.Target == "" {
		return m, bad("field Target must not be empty")
	}
	switch s.Type {
	case mount.TypeBind:
		if s.Source == "" {
			return m, bad("field Source must not be empty")
		}
		if !path.IsAbs(s.Source) {
			return m, bad("invalid mount path: '%s' mount path must be absolute", s.Source)
		}
		m.Source = path.Clean(s.Source)
		if o := s.BindOptions; o != nil {
			m.Propagation, m.Flat, m.Create, m.ShallowRO = o.Propagation, o.NonRecursive, o.CreateMountpoint, o.ReadOnlyNonRecursive
		}
	case mount.TypeVolume:
		if s.Source != "" && !volumeName.MatchString(s.Source) {
			return m, bad("%q includes invalid characters for a local volume name", s.Source)
		}
		if o := s.VolumeOptions; o != nil {
			m.NoCopy, m.Subpath, m.Volume = o.NoCopy, o.Subpath, o
			if path.IsAbs(o.Subpath) || strings.HasPrefix(path.Clean(o.Subpath), "..") {
				return m, bad("subpath must be a relative path within the volume")
			}
		}
	case mount.TypeTmpfs:
		if s.Source != "" {
			return m, bad("field Source must not be specified")
		}
		var opts []string
		if o := s.TmpfsOptions; o != nil {
			if o.SizeBytes > 0 {
				opts = append(opts, fmt.Sprintf("size=%d", o.SizeBytes))
			}
			if o.Mode != 0 {
				opts = append(opts, fmt.Sprintf("mode=%o", uint32(o.Mode)))
			}
			for _, kv := range o.Options {
				opts = append(opts, strings.Join(kv, "="))
			}
		}
		if s.ReadOnly {
			opts = append(opts, "ro")
		}
		m.Options = tmpfsOptions(opts)
	default:
		return m, bad("mount type unknown or not supported here")
	}
	return m, nil
}

// tmpfsOptions adds Docker's defaults where the user did not say otherwise.
func tmpfsOptions(opts []string) []string {
	opts = slices.DeleteFunc(slices.Clone(opts), func(o string) bool { return o == "" })
	var out []string
	for _, d := range [][2]string{{"noexec", "exec"}, {"nosuid", "suid"}, {"nodev", "dev"}} {
		if !slices.Contains(opts, d[0]) && !slices.Contains(opts, d[1]) {
			out = append(out, d[0])
		}
	}
	return append(out, opts...)
}

// spec is the mount as runc makes it; source is the directory that it leads to, for binds and volumes.
func (m mounting) spec(source string) specs.Mount {
	if m.Type == mount.TypeTmpfs {
		return specs.Mount{Destination: m.Target, Type: "tmpfs", Source: "tmpfs", Options: m.Options}
	}
	s := specs.Mount{Destination: m.Target, Type: "bind", Source: source, Options: []string{"rbind"}}
	if m.Flat {
		s.Options[0] = "bind"
	}
	p := m.Propagation
	if p == "" {
		p = mount.PropagationRPrivate
	}
	s.Options = append(s.Options, string(p))
	if m.ReadOnly {
		s.Options = append(s.Options, "ro")
		if !m.ShallowRO && !m.Flat {
			s.Options = append(s.Options, "rro") // the mounts below too, as Docker does
		}
	}
	return s
}

// point is the mount as inspect shows it.
func (m mounting) point(source string) container.MountPoint {
	p := container.MountPoint{Type: m.Type, Source: source, Destination: m.Target, Mode: m.Mode, RW: !m.ReadOnly, Propagation: m.Propagation}
	switch m.Type {
	case mount.TypeVolume:
		p.Name, p.Driver = m.Source, "local"
	case mount.TypeBind:
		if p.Propagation == "" {
			p.Propagation = mount.PropagationRPrivate
		}
	case mount.TypeTmpfs:
		p.RW = !slices.Contains(m.Options, "ro")
	}
	return p
}
