package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"
	"github.com/opencontainers/image-spec/identity"

	"shoal/internal/cluster"
	"shoal/internal/image"
)

// snapshotLabel names the container on its snapshot, so that one without a container is known.
const snapshotLabel = "io.shoal.container"

// CreateRequest is what a container is made of.
type CreateRequest struct {
	Name       string // empty: one is made up
	Config     *container.Config
	HostConfig *container.HostConfig
	Endpoints  map[string]*network.EndpointSettings // by network name; empty: what HostConfig.NetworkMode says
	// The rest is for tasks.
	TaskID   string
	Overlays []cluster.Attachment
	Ports    []swarm.PortConfig // published on this node alone
	Auth     string             // an X-Registry-Auth; the image is pulled when it is missing
	files    []file             // secrets and configs
}

var containerName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)

// Create makes a container that does not run yet. Errors are in Docker's words: ErrNotFound "No such image: x",
// ErrConflict for a taken name, ErrInvalidArgument for what cannot be. After an error nothing of it is left.
func (e *Engine) Create(ctx context.Context, r CreateRequest) (*Container, []string, error) {
	ctx = namespaces.WithNamespace(ctx, Namespace)
	if r.Config == nil {
		return nil, nil, cluster.Errorf(errdefs.ErrInvalidArgument, "config cannot be empty in order to create a container")
	}
	if r.HostConfig == nil {
		r.HostConfig = &container.HostConfig{}
	}
	img, err := e.imageFor(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	id := newID()
	if r.Name == "" {
		r.Name = e.inventName(id)
	} else if !containerName.MatchString(r.Name) {
		return nil, nil, cluster.Errorf(errdefs.ErrInvalidArgument, "Invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", r.Name)
	}
	rec, err := e.newRecord(id, r, img)
	if err != nil {
		return nil, nil, err
	}
	if err := e.takeName(rec.Name, id); err != nil {
		return nil, nil, err
	}
	c := newContainer(e, rec)
	c.files = r.files
	if err := e.lay(ctx, c, img); err != nil {
		e.freeName(rec.Name, id)
		return nil, nil, err
	}
	e.mu.Lock()
	e.containers[id] = c
	if rec.TaskID != "" {
		e.tasks[rec.TaskID] = id
	}
	e.mu.Unlock()
	c.event(events.ActionCreate, nil)
	return c, nil, nil
}

func (e *Engine) imageFor(ctx context.Context, r CreateRequest) (*image.Image, error) {
	if r.TaskID != "" {
		return e.cfg.Images.Ensure(ctx, r.Config.Image, r.Auth)
	}
	return e.cfg.Images.Get(ctx, r.Config.Image)
}

// newRecord works out all that can be said before anything is made; its mistakes cost nothing.
func (e *Engine) newRecord(id string, r CreateRequest, img *image.Image) (Record, error) {
	c := Merge(r.Config, img.Config.Config)
	h := *r.HostConfig
	if h.LogConfig.Type == "" {
		h.LogConfig = e.cfg.LogConfig
	}
	if h.LogConfig.Type == "" {
		h.LogConfig.Type = driverJSON
	}
	if h.NetworkMode == "" || h.NetworkMode == "default" {
		h.NetworkMode = "bridge"
	}
	if h.ShmSize == 0 {
		h.ShmSize = shmSize
	}
	if h.Init == nil && e.cfg.Init {
		yes := true
		h.Init = &yes
	}
	if h.RestartPolicy.Name == "" {
		h.RestartPolicy.Name = container.RestartPolicyDisabled
	}
	if c.Hostname == "" {
		c.Hostname = id[:12]
		if h.NetworkMode.IsHost() || h.UTSMode.IsHost() {
			c.Hostname = e.cfg.Hostname
		}
	}
	if err := check(c, &h); err != nil {
		return Record{}, err
	}
	wanted, err := mountings(c, &h)
	if err != nil {
		return Record{}, err
	}
	args := command(c)
	if len(args) == 0 {
		return Record{}, cluster.Errorf(errdefs.ErrInvalidArgument, "no command specified")
	}
	rec := Record{
		ID: id, Name: r.Name, Created: time.Now().UTC(), ImageID: img.ID, Config: c, HostConfig: &h,
		Endpoints: r.Endpoints, Overlays: r.Overlays, Ports: r.Ports, Files: len(r.files), TaskID: r.TaskID, Path: args[0], Args: args[1:],
		State: State{Status: container.StateCreated},
	}
	for _, m := range wanted {
		rec.Mounts = append(rec.Mounts, m.point(m.Source))
	}
	// The spec is made once with nothing resolved: what is wrong in it should be said now, not at the start.
	_, err = Spec(Wish{ID: id, Config: c, HostConfig: &h, Node: e.node})
	return rec, err
}

// check refuses what does not go together, in Docker's words.
func check(c *container.Config, h *container.HostConfig) error {
	if err := container.ValidateRestartPolicy(h.RestartPolicy); err != nil {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "%s", err)
	}
	if h.AutoRemove && !h.RestartPolicy.IsNone() {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "can't create 'AutoRemove' container with restart policy")
	}
	if _, err := parseSignal(c.StopSignal, 15); err != nil {
		return err
	}
	if h.ShmSize < 0 {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "SHM size can not be less than 0")
	}
	if h.OomScoreAdj < -1000 || h.OomScoreAdj > 1000 {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "Invalid value %d, range for oom score adj is [-1000, 1000]", h.OomScoreAdj)
	}
	if err := checkHealth(c.Healthcheck); err != nil {
		return err
	}
	switch {
	case len(h.VolumesFrom) > 0:
		return cluster.Errorf(errdefs.ErrNotImplemented, "--volumes-from is not supported: name the volumes with -v or --mount")
	case len(h.Links) > 0:
		return cluster.Errorf(errdefs.ErrNotImplemented, "--link is not supported: containers on a network of their own find each other by name")
	case len(h.DeviceRequests) > 0:
		return cluster.Errorf(errdefs.ErrInvalidArgument, "could not select device driver %q with capabilities: %v", h.DeviceRequests[0].Driver, h.DeviceRequests[0].Capabilities)
	case h.Runtime != "" && h.Runtime != "runc" && h.Runtime != "io.containerd.runc.v2":
		return cluster.Errorf(errdefs.ErrInvalidArgument, "unknown or invalid runtime name: %s", h.Runtime)
	}
	o := orderOf(Record{Config: c, HostConfig: h})
	return logOrder(&o, h.LogConfig, c, "/log")
}

// lay puts the container down: its directory and record first, so that whatever follows has an owner after a crash.
func (e *Engine) lay(ctx context.Context, c *Container, img *image.Image) (err error) {
	if err := os.MkdirAll(c.Dir(), 0o710); err != nil {
		return fmt.Errorf("container's directory: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.unlay(context.WithoutCancel(ctx), c), os.RemoveAll(c.Dir()))
		}
	}()
	if err := c.update(func(*Record) {}); err != nil {
		return fmt.Errorf("write the container's record: %w", err)
	}
	if err := e.makeVolumes(c); err != nil {
		return err
	}
	return e.snapshot(ctx, c.ID(), img.Handle)
}

// snapshot makes the container's writable layer. Its label keeps it while no containerd container names it.
func (e *Engine) snapshot(ctx context.Context, id string, img client.Image) error {
	diffs, err := img.RootFS(ctx)
	if err != nil {
		return fmt.Errorf("layers of image %s: %w", img.Name(), err)
	}
	parent := identity.ChainID(diffs).String()
	sn := e.cfg.Containerd.Client().SnapshotService(snapshotter)
	labels := snapshots.WithLabels(map[string]string{snapshotLabel: id, "containerd.io/gc.root": time.Now().UTC().Format(time.RFC3339)})
	_, err = sn.Prepare(ctx, id, parent, labels)
	if errdefs.IsNotFound(err) { // present, but not unpacked
		if err = img.Unpack(ctx, snapshotter); err == nil {
			_, err = sn.Prepare(ctx, id, parent, labels)
		}
	}
	if err != nil {
		return fmt.Errorf("make the container's layer: %w", err)
	}
	return nil
}

// unlay removes what lay made; it may be called for what is half there. The record goes last, so that after an error there
// is still an owner.
func (e *Engine) unlay(ctx context.Context, c *Container) error {
	err := e.cfg.Containerd.Client().SnapshotService(snapshotter).Remove(ctx, c.ID())
	if err = ignore(err, errdefs.ErrNotFound); err != nil {
		return fmt.Errorf("remove the container's layer: %w", err)
	}
	e.dropFiles(c.ID())
	os.Remove(c.AttachSocket()) // left by a shim that was killed
	return os.RemoveAll(c.Dir())
}

func newContainer(e *Engine, rec Record) *Container {
	c := &Container{engine: e, rec: rec, op: make(chan struct{}, 1), changed: make(chan struct{})}
	c.op <- struct{}{}
	return c
}

// own takes the container's life into the caller's hands; the function gives it back.
func (c *Container) own(ctx context.Context) (release func(), err error) {
	select {
	case <-c.op:
		return func() { c.op <- struct{}{} }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// event tells `docker events` what happened to the container.
func (c *Container) event(action events.Action, more map[string]string) {
	r := c.Record()
	attrs := union(r.Config.Labels, map[string]string{"name": r.Name, "image": r.Config.Image})
	c.engine.bus.Publish(events.ContainerEventType, action, r.ID, union(attrs, more))
}

// inventName makes a name of an adjective and a noun, and of the ID when that is taken.
func (e *Engine) inventName(id string) string {
	n := 0
	for _, b := range []byte(id[:8]) {
		n = n*31 + int(b)
	}
	name := nameLeft[n%len(nameLeft)] + "_" + nameRight[n/len(nameLeft)%len(nameRight)]
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, taken := e.names[name]; taken {
		return name + "_" + id[:6]
	}
	return name
}

var (
	nameLeft = []string{
		"amber", "brave", "calm", "deft", "eager", "fair", "gentle", "hardy", "icy", "jolly", "keen", "lively", "merry", "noble",
		"odd", "proud", "quick", "ready", "silver", "tidal", "upbeat", "vivid", "warm", "young", "zesty",
	}
	nameRight = []string{
		"anchovy", "bass", "carp", "dab", "eel", "flounder", "grouper", "herring", "ide", "jack", "koi", "ling", "mackerel",
		"needlefish", "opah", "perch", "ray", "salmon", "trout", "umber", "wrasse", "zander",
	}
)

// hasMount says whether the container mounts something at a target.
func hasMount(all []mounting, target string) bool {
	return slices.ContainsFunc(all, func(m mounting) bool { return m.Target == target })
}
