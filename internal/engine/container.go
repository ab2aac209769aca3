package engine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// Record is a container as it is on disk: what was asked for and how far it got. Values that it points to are never
// changed in place, so a copy may be kept.
type Record struct {
	ID, Name   string
	Created    time.Time
	ImageID    string // digest of the image's configuration
	Config     *container.Config
	HostConfig *container.HostConfig
	// Endpoints are the node's own networks that the container joins, as asked for, by network name.
	Endpoints map[string]*network.EndpointSettings `json:",omitempty"`
	// Overlays are the swarm networks that a task's container joins.
	Overlays []cluster.Attachment `json:",omitempty"`
	TaskID   string               `json:",omitempty"`
	Ports    []swarm.PortConfig   `json:",omitempty"` // host-mode ports of a task
	Files    int                  `json:",omitempty"` // how many secrets and configs a task has
	// Path and Args are the command as it was worked out from Config and image.
	Path   string
	Args   []string
	Mounts []container.MountPoint `json:",omitempty"` // as they were resolved
	State  State
}

// State is how far a container got.
type State struct {
	Status     container.ContainerState // created, running, paused, restarting, removing, exited or dead
	Pid        int                      `json:",omitempty"`
	StartedAt  time.Time                `json:",omitzero"`
	FinishedAt time.Time                `json:",omitzero"`
	ExitCode   int
	OOMKilled  bool              `json:",omitempty"`
	Error      string            `json:",omitempty"`
	Health     *container.Health `json:",omitempty"` // nil: no health check
	Restarts   int               `json:",omitempty"` // by the restart policy, in a row
	// Stopped says that a user ended it: the restart policies leave it alone.
	Stopped bool `json:",omitempty"`
}

// Running says whether there is a process: running or paused.
func (s State) Running() bool {
	return s.Status == container.StateRunning || s.Status == container.StatePaused
}

// Container is one container of the engine.
type Container struct {
	engine *Engine
	op     chan struct{} // holds one token: who has it may change the container's life

	mu      sync.Mutex
	rec     Record
	run     *run          // the present or the last run; nil before the first
	changed chan struct{} // closed and replaced on every change of rec.State
	removed bool
	meeting []*meeting // who waits for the streams of the next run
	files   []file     // secrets and configs of a task; gone after a restart of the daemon
	pending *run       // built and not begun
}

// ID returns the container's full ID, 64 hexadecimal characters.
func (c *Container) ID() string { return c.rec.ID } // set once, before others see c

// Record returns a copy of the container's record as it is now.
func (c *Container) Record() Record {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rec
}

// Name returns the container's name, without a slash.
func (c *Container) Name() string { return c.Record().Name }

// Dir is the container's directory: container.json, its logs, exit.json, hostname, hosts, resolv.conf, attach.sock.
func (c *Container) Dir() string { return c.engine.dir(c.ID()) }

// LogPath is where the container's log is written, for every driver but none.
func (c *Container) LogPath() string { return filepath.Join(c.Dir(), c.ID()+"-json.log") }

// AttachSocket is the socket at which the container's shim serves its streams while it runs; see package shim.
func (c *Container) AttachSocket() string {
	return filepath.Join(c.engine.cfg.ExecRoot, "a", c.ID()[:20])
}

// Task returns containerd's task of a container that runs. ErrFailedPrecondition, in Docker's words: it does not.
func (c *Container) Task(ctx context.Context) (client.Task, error) {
	if !c.Record().State.Running() {
		return nil, cluster.Errorf(errdefs.ErrConflict, "container %s is not running", c.ID())
	}
	ctx = namespaces.WithNamespace(ctx, Namespace)
	ctr, err := c.engine.cfg.Containerd.Client().LoadContainer(ctx, c.ID())
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", c.ID(), err)
	}
	t, err := ctr.Task(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("task of container %s: %w", c.ID(), err)
	}
	return t, nil
}

// Containers returns all containers, newest first.
func (e *Engine) Containers() []*Container {
	e.mu.Lock()
	all := make([]*Container, 0, len(e.containers))
	for _, c := range e.containers {
		all = append(all, c)
	}
	e.mu.Unlock()
	slices.SortFunc(all, func(a, b *Container) int {
		return cmpOr(b.rec.Created.Compare(a.rec.Created), strings.Compare(a.rec.ID, b.rec.ID))
	})
	return all
}

func cmpOr(a, b int) int {
	if a != 0 {
		return a
	}
	return b
}

// Find returns the container that ref means: its full ID, its name (with or without a slash), or a unique prefix of
// its ID. ErrNotFound and ErrInvalidArgument in Docker's words.
func (e *Engine) Find(ref string) (*Container, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c := e.containers[ref]; c != nil {
		return c, nil
	}
	if c := e.containers[e.names[strings.TrimPrefix(ref, "/")]]; c != nil {
		return c, nil
	}
	var found *Container
	for id, c := range e.containers {
		if ref == "" || !strings.HasPrefix(id, ref) {
			continue
		}
		if found != nil {
			return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "multiple IDs found with provided prefix: %s", ref)
		}
		found = c
	}
	if found == nil {
		return nil, cluster.Errorf(errdefs.ErrNotFound, "No such container: %s", ref)
	}
	return found, nil
}

func (e *Engine) dir(id string) string { return filepath.Join(e.cfg.DataRoot, "containers", id) }

// newID returns a random container ID.
func newID() string {
	var b [32]byte
	rand.Read(b[:]) // never fails since Go 1.24
	return hex.EncodeToString(b[:])
}

// takeName books a name for a container ID. ErrConflict in Docker's words: another has it.
func (e *Engine) takeName(name, id string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if owner, taken := e.names[name]; taken && owner != id {
		return cluster.Errorf(errdefs.ErrConflict, "Conflict. The container name %q is already in use by container %q. "+
			"You have to remove (or rename) that container to be able to reuse that name.", "/"+name, owner)
	}
	e.names[name] = id
	return nil
}

func (e *Engine) freeName(name, id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.names[name] == id {
		delete(e.names, name)
	}
}

// update changes the record, writes it to disk and wakes those who wait for a change. The change holds in memory even
// when the disk refuses it; the error says so.
func (c *Container) update(change func(*Record)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.rec)
	close(c.changed)
	c.changed = make(chan struct{})
	if c.removed {
		return nil
	}
	return writeJSON(filepath.Join(c.Dir(), "container.json"), c.rec)
}

// note is update for those who have nobody to tell that the disk refused: the change holds, and the log says the rest.
func (c *Container) note(change func(*Record)) {
	if err := c.update(change); err != nil {
		c.engine.log.Error("container's record cannot be written", "container", c.ID(), "error", err)
	}
}

// writeJSON replaces a file in one step.
func writeJSON(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", filepath.Base(path), err)
	}
	if err := os.WriteFile(path+".tmp", b, 0o600); err != nil {
		return errors.Join(err, os.Remove(path+".tmp"))
	}
	return os.Rename(path+".tmp", path)
}
