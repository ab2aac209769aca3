package engine

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"strconv"
	"time"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/storage"

	shoalnet "shoal/internal/network"
)

// snapshotter is the name that Docker's clients see as the storage driver.
const snapshotter = "overlayfs"

// Inspect returns all that Docker's API tells of a container. With size it counts the bytes of its file system, which
// takes a walk. ErrNotFound in Docker's words.
func (e *Engine) Inspect(ctx context.Context, ref string, size bool) (container.InspectResponse, error) {
	c, err := e.Find(ref)
	if err != nil {
		return container.InspectResponse{}, err
	}
	r := c.Record()
	out := container.InspectResponse{
		ID: r.ID, Name: "/" + r.Name, Created: stamp(r.Created), Path: r.Path, Args: r.Args, State: inspectState(r.State),
		Image: r.ImageID, Driver: snapshotter, Platform: "linux", RestartCount: r.State.Restarts,
		LogPath:        c.LogPath(),
		ResolvConfPath: filepath.Join(c.Dir(), "resolv.conf"), HostnamePath: filepath.Join(c.Dir(), "hostname"), HostsPath: filepath.Join(c.Dir(), "hosts"),
		Config: r.Config, HostConfig: e.hostConfig(r), Mounts: r.Mounts, ExecIDs: e.execs.of(r.ID),
		GraphDriver:     &storage.DriverData{Name: snapshotter, Data: map[string]string{}},
		NetworkSettings: e.networkSettings(r),
	}
	if out.Args == nil {
		out.Args = []string{}
	}
	if out.Mounts == nil {
		out.Mounts = []container.MountPoint{}
	}
	if out.HostConfig.LogConfig.Type == "none" {
		out.LogPath = ""
	}
	if size {
		rw, all, err := e.sizes(ctx, r)
		if err != nil {
			return out, err
		}
		out.SizeRw, out.SizeRootFs = &rw, &all
	}
	return out, nil
}

// hostConfig is the record's with the daemon's defaults filled in that tools look at.
func (e *Engine) hostConfig(r Record) *container.HostConfig {
	h := *r.HostConfig
	if h.LogConfig.Type == "" {
		if h.LogConfig = e.cfg.LogConfig; h.LogConfig.Type == "" {
			h.LogConfig = container.LogConfig{Type: "json-file", Config: map[string]string{}}
		}
	}
	if h.NetworkMode == "" {
		h.NetworkMode = "default"
	}
	if h.RestartPolicy.Name == "" {
		h.RestartPolicy.Name = container.RestartPolicyDisabled
	}
	return &h
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func inspectState(s State) *container.State {
	return &container.State{
		Status: s.Status, Running: s.Running() || s.Status == container.StateRestarting, Paused: s.Status == container.StatePaused,
		Restarting: s.Status == container.StateRestarting, OOMKilled: s.OOMKilled, Dead: s.Status == container.StateDead,
		Pid: s.Pid, ExitCode: s.ExitCode, Error: s.Error, StartedAt: stamp(s.StartedAt), FinishedAt: stamp(s.FinishedAt), Health: s.Health,
	}
}

// networkSettings is where the container is in its networks: of one that has no sandbox now, what it asked for.
func (e *Engine) networkSettings(r Record) *container.NetworkSettings {
	out := &container.NetworkSettings{Ports: network.PortMap{}, Networks: map[string]*network.EndpointSettings{}}
	box, ok := e.cfg.Network.Sandbox(r.ID)
	for p := range r.Config.ExposedPorts {
		out.Ports[p] = nil
	}
	if !ok {
		maps.Copy(out.Networks, r.Endpoints)
		return out
	}
	out.SandboxID, out.SandboxKey = r.ID, box.Path
	maps.Copy(out.Networks, box.Endpoints)
	maps.Copy(out.Ports, published(box))
	return out
}

// published lists the ports of a sandbox as they are bound on the node. One that is bound on all addresses shows as two
// bindings, as in Docker: the IPv4 and the IPv6 wildcard.
func published(box *shoalnet.Sandbox) network.PortMap {
	out := network.PortMap{}
	for i, p := range box.Ports {
		port, err := network.ParsePort(fmt.Sprintf("%d/%s", p.TargetPort, p.Protocol))
		if err != nil {
			continue // the network made it, so it is one
		}
		hosts := []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
		if i < len(box.Bind) && box.Bind[i].IsValid() {
			hosts = box.Bind[i : i+1]
		}
		for _, h := range hosts {
			out[port] = append(out[port], network.PortBinding{HostIP: h, HostPort: strconv.Itoa(int(p.PublishedPort))})
		}
	}
	return out
}

// sizes returns the bytes that the container has written to its file system, and those together with its image's.
func (e *Engine) sizes(ctx context.Context, r Record) (rw, all int64, _ error) {
	ctx = namespaces.WithNamespace(ctx, Namespace)
	sn := e.cfg.Containerd.Client().SnapshotService(snapshotter)
	key := r.ID
	for i := 0; key != ""; i++ {
		u, err := sn.Usage(ctx, key)
		if err != nil {
			return 0, 0, fmt.Errorf("size of container %s: %w", r.ID, err)
		}
		if all += u.Size; i == 0 {
			rw = u.Size
		}
		info, err := sn.Stat(ctx, key)
		if err != nil {
			return 0, 0, fmt.Errorf("size of container %s: %w", r.ID, err)
		}
		key = info.Parent
	}
	return rw, all, nil
}
