package volume

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/volume"

	"shoal/internal/cluster"
)

// Driver is the one driver's name.
const Driver = "local"

// AnonymousLabel marks volumes that were made without a name, as Docker marks them; prune takes only these by default.
const AnonymousLabel = "com.docker.volume.anonymous"

// metadata is what a volume's volume.json holds.
type metadata struct {
	CreatedAt time.Time
	Labels    map[string]string `json:",omitempty"`
	Options   map[string]string `json:",omitempty"`
}

// entry is a volume in memory. Which containers have it mounted is known only since the daemon started: [Store.Mount]
// is called again for those that it finds running.
type entry struct {
	metadata
	name  string
	users map[string]bool
	gone  bool // removed while somebody waited for busy
	// busy is held while the volume is mounted, unmounted or removed, which may take long (nfs).
	busy sync.Mutex
}

// Store is the volumes of one node. All methods may be called concurrently.
type Store struct {
	dir string
	log *slog.Logger

	mu      sync.Mutex
	volumes map[string]*entry
	inUse   func(name string) []string
}

// Filters are a request's filters: values by key.
type Filters map[string][]string

// New reads the volumes under dir, which it makes. A folder without readable metadata is left alone and logged.
func New(dir string, log *slog.Logger) (*Store, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(dir, 0o701); err != nil {
		return nil, fmt.Errorf("volumes: %w", err)
	}
	s := &Store{dir: dir, log: log, volumes: map[string]*entry{}, inUse: func(string) []string { return nil }}
	found, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("volumes: %w", err)
	}
	for _, f := range found {
		e := &entry{name: f.Name(), users: map[string]bool{}}
		b, err := os.ReadFile(s.file(e.name))
		if err == nil {
			err = json.Unmarshal(b, &e.metadata)
		}
		if err != nil {
			log.Warn("folder among the volumes is none", "name", f.Name(), "error", err)
			continue
		}
		s.volumes[e.name] = e
	}
	return s, nil
}

// SetInUse gives the function that says which containers, running or not, name a volume.
func (s *Store) SetInUse(f func(name string) []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inUse = f
}

func (s *Store) file(name string) string { return filepath.Join(s.dir, name, "volume.json") }

// data is the directory that containers see.
func (s *Store) data(name string) string { return filepath.Join(s.dir, name, "_data") }

var namePattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)

// maxName is the longest name of a folder on Linux's file systems, in bytes.
const maxName = 255

func checkName(name string) error {
	if len(name) < 2 && name != "" {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "volume name is too short, names should be at least two alphanumeric characters")
	}
	if !namePattern.MatchString(name) {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "%q includes invalid characters for a local volume name, only %q are allowed. "+
			"If you intended to pass a host directory, use absolute path", name, "[a-zA-Z0-9][a-zA-Z0-9_.-]")
	}
	if len(name) > maxName {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "volume name is longer than %d bytes", maxName)
	}
	return nil
}

// Create makes a volume, with a random name of 64 hexadecimal characters when it is given none. A volume that is
// there already is returned as it is, unless it has other options: ErrConflict.
func (s *Store) Create(o volume.CreateRequest) (volume.Volume, error) {
	if o.ClusterVolumeSpec != nil {
		return volume.Volume{}, cluster.Errorf(errdefs.ErrNotImplemented, "cluster volumes (CSI) are not supported by Shoal")
	}
	if o.Driver != "" && o.Driver != Driver {
		return volume.Volume{}, cluster.Errorf(errdefs.ErrNotFound, "create %s: error looking up volume plugin %s: plugin %q not found", o.Name, o.Driver, o.Driver)
	}
	labels := maps.Clone(o.Labels)
	if o.Name == "" {
		var b [32]byte
		rand.Read(b[:]) // never fails since Go 1.24
		o.Name = hex.EncodeToString(b[:])
		if labels == nil {
			labels = map[string]string{}
		}
		labels[AnonymousLabel] = ""
	}
	if err := checkName(o.Name); err != nil {
		return volume.Volume{}, err
	}
	if err := checkOptions(o.DriverOpts); err != nil {
		return volume.Volume{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.volumes[o.Name]; e != nil {
		if len(o.DriverOpts) > 0 && !maps.Equal(o.DriverOpts, e.Options) {
			return volume.Volume{}, cluster.Errorf(errdefs.ErrConflict, "create %s: conflict: volume name must be unique: it exists with other options", o.Name)
		}
		return s.view(e), nil
	}
	e := &entry{name: o.Name, users: map[string]bool{}, metadata: metadata{CreatedAt: time.Now().UTC(), Labels: labels, Options: maps.Clone(o.DriverOpts)}}
	if err := s.write(e); err != nil {
		return volume.Volume{}, errors.Join(fmt.Errorf("create volume %s: %w", o.Name, err), os.RemoveAll(filepath.Join(s.dir, o.Name)))
	}
	s.volumes[o.Name] = e
	return s.view(e), nil
}

// write puts a new volume on disk; its metadata come last, so that half a volume is none.
func (s *Store) write(e *entry) error {
	if err := os.MkdirAll(s.data(e.name), 0o755); err != nil {
		return err
	}
	if err := os.Chmod(s.data(e.name), 0o755); err != nil { // whatever the umask
		return err
	}
	b, err := json.Marshal(e.metadata)
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.file(e.name)+".tmp", b, 0o600); err != nil {
		return err
	}
	return os.Rename(s.file(e.name)+".tmp", s.file(e.name))
}

func (s *Store) view(e *entry) volume.Volume {
	v := volume.Volume{
		Name: e.name, Driver: Driver, Mountpoint: s.data(e.name), Scope: "local",
		CreatedAt: e.CreatedAt.Format(time.RFC3339), Labels: e.Labels, Options: e.Options,
	}
	return v
}

func (s *Store) entry(name string) (*entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.volumes[name]; e != nil {
		return e, nil
	}
	return nil, cluster.Errorf(errdefs.ErrNotFound, "get %s: no such volume", name)
}

// Get returns a volume. ErrNotFound: "get x: no such volume".
func (s *Store) Get(name string) (volume.Volume, error) {
	e, err := s.entry(name)
	if err != nil {
		return volume.Volume{}, err
	}
	return s.view(e), nil
}

// Remove deletes a volume and all in it. With force it is no error that there is none. ErrConflict: a container uses it.
func (s *Store) Remove(name string, force bool) error {
	e, err := s.entry(name)
	if err != nil {
		if force {
			return nil
		}
		return err
	}
	e.busy.Lock()
	defer e.busy.Unlock()
	if e.gone {
		return nil
	}
	s.mu.Lock()
	inUse := s.inUse
	s.mu.Unlock()
	users := inUse(name)
	if len(users) == 0 {
		users = slices.Sorted(maps.Keys(e.users))
	}
	if len(users) > 0 {
		return cluster.Errorf(errdefs.ErrConflict, "remove %s: volume is in use - %v", name, users)
	}
	if err := s.unmount(e); err != nil { // of an earlier life
		return err
	}
	if err := os.Remove(s.file(name)); err != nil && !errors.Is(err, os.ErrNotExist) { // first: half a volume is none
		return fmt.Errorf("remove volume %s: %w", name, err)
	}
	e.gone = true
	s.mu.Lock()
	delete(s.volumes, name)
	s.mu.Unlock()
	if err := os.RemoveAll(filepath.Join(s.dir, name)); err != nil {
		return fmt.Errorf("remove volume %s: %w", name, err)
	}
	return nil
}
