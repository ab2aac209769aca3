package volume

import (
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/volume"

	"shoal/internal/cluster"
)

func (f Filters) check(keys ...string) error {
	for k := range f {
		if !slices.Contains(keys, k) {
			return cluster.Errorf(errdefs.ErrInvalidArgument, "invalid filter '%s'", k)
		}
	}
	return nil
}

// flag reads a filter that is true or false; set is false without one.
func (f Filters) flag(key string) (value, set bool, _ error) {
	if len(f[key]) == 0 {
		return false, false, nil
	}
	switch v := f[key][0]; v {
	case "1", "true":
		return true, true, nil
	case "0", "false":
		return false, true, nil
	default:
		return false, false, cluster.Errorf(errdefs.ErrInvalidArgument, "invalid filter '%s=[%s]'", key, v)
	}
}

// labelled says whether labels satisfy the filters "label" and "label!": key or key=value each.
func (f Filters) labelled(labels map[string]string) bool {
	has := func(want string) bool {
		k, v, exact := strings.Cut(want, "=")
		got, ok := labels[k]
		return ok && (!exact || got == v)
	}
	for _, want := range f["label"] {
		if !has(want) {
			return false
		}
	}
	return !slices.ContainsFunc(f["label!"], has)
}

// List returns the volumes by name. Filters: name (a part of it), label, driver, dangling (used by no container).
func (s *Store) List(f Filters) ([]volume.Volume, error) {
	if err := f.check("name", "label", "driver", "dangling"); err != nil {
		return nil, err
	}
	dangling, only, err := f.flag("dangling")
	if err != nil {
		return nil, err
	}
	out := []volume.Volume{}
	for _, e := range s.all() {
		part := func(v string) bool { return strings.Contains(e.name, v) }
		switch {
		case len(f["name"]) > 0 && !slices.ContainsFunc(f["name"], part):
		case len(f["driver"]) > 0 && !slices.Contains(f["driver"], Driver):
		case !f.labelled(e.Labels):
		case only && dangling != (len(s.users(e)) == 0):
		default:
			out = append(out, s.view(e))
		}
	}
	return out, nil
}

// all returns the volumes by name.
func (s *Store) all() []*entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.volumes), func(a, b *entry) int { return strings.Compare(a.name, b.name) })
}

func (s *Store) users(e *entry) []string {
	s.mu.Lock()
	inUse := s.inUse
	s.mu.Unlock()
	return inUse(e.name)
}

// Prune removes the volumes that no container uses: those without a name of their own, or all with the filter all=true.
// Filters: all, label, label!. One that cannot be removed is left and does not stop the others.
func (s *Store) Prune(f Filters) (volume.PruneReport, error) {
	report := volume.PruneReport{VolumesDeleted: []string{}}
	if err := f.check("all", "label", "label!"); err != nil {
		return report, err
	}
	all, _, err := f.flag("all")
	if err != nil {
		return report, err
	}
	for _, e := range s.all() {
		_, anonymous := e.Labels[AnonymousLabel]
		if (!all && !anonymous) || !f.labelled(e.Labels) || len(s.users(e)) > 0 {
			continue
		}
		size := s.Size(e.name)
		if err := s.Remove(e.name, false); err != nil {
			s.log.Info("volume is left", "name", e.name, "error", err)
			continue
		}
		report.VolumesDeleted = append(report.VolumesDeleted, e.name)
		report.SpaceReclaimed += uint64(size)
	}
	return report, nil
}

// Size is the bytes that a volume takes on disk, as far as they can be counted.
func (s *Store) Size(name string) int64 {
	var sum int64
	seen := map[uint64]bool{} // hard links count once
	_ = filepath.WalkDir(s.data(name), func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // what vanished meanwhile does not count
		}
		if info, err := d.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok && !seen[st.Ino] {
				seen[st.Ino] = true
				sum += st.Blocks * 512
			}
		}
		return nil
	})
	return sum
}

// Usage returns all volumes with their sizes and how many containers use them, for `docker system df`.
func (s *Store) Usage() []volume.Volume {
	out := []volume.Volume{}
	for _, e := range s.all() {
		v := s.view(e)
		v.UsageData = &volume.UsageData{Size: s.Size(e.name), RefCount: int64(len(s.users(e)))}
		out = append(out, v)
	}
	return out
}
