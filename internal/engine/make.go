package engine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	apinet "github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sync/errgroup"

	"shoal/internal/cluster"
	"shoal/internal/network"
	"shoal/internal/shim"
	"shoal/internal/shim/wire"
)

// runtimeError is a refusal by runc to make the container: its command, its devices, its limits. The image, the
// network and the mounts were there.
type runtimeError struct {
	code int // what `docker run` ends with: 127, 126 or 128
	err  error
}

func (r *runtimeError) Error() string { return r.err.Error() }
func (r *runtimeError) Unwrap() error { return r.err }

// build makes a run of the container that waits at its start: network, mounts, files, spec, task. The caller owns the
// container. After an error nothing that it made is left.
func (c *Container) build(ctx context.Context) (_ *run, err error) {
	ctx = namespaces.WithNamespace(ctx, Namespace)
	e, rec := c.engine, c.Record()
	os.Remove(filepath.Join(c.Dir(), "exit.json"))
	defer func() {
		if err != nil {
			_ = c.dismantle(context.WithoutCancel(ctx)) // the first error is the cause; removal tries again
		}
	}()
	w := Wish{ID: rec.ID, Config: rec.Config, HostConfig: rec.HostConfig, Node: e.node, Cgroup: path.Join(e.cfg.CgroupParent, rec.ID)}
	w.Init = rec.HostConfig.Init != nil && *rec.HostConfig.Init
	var box *network.Sandbox
	all, err := mountings(rec.Config, rec.HostConfig)
	if err != nil {
		return nil, err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		box, err = e.cfg.Network.Attach(gctx, c.request(rec))
		return err
	})
	g.Go(func() (err error) {
		if w.User, w.Mounts, err = c.prepareRoot(gctx, rec, all); err != nil {
			return err
		}
		w.Devices, err = hostDevices(rec.HostConfig)
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	files, err := c.writeNames(e.namesOf(rec.Config, rec.HostConfig, box), func(t string) bool { return hasMount(all, t) })
	if err != nil {
		return nil, err
	}
	if len(c.files) != rec.Files {
		return nil, cluster.Errorf(errdefs.ErrFailedPrecondition, "the secrets of container %s are not in memory any more: its task must be prepared again", rec.ID)
	}
	secret, err := e.writeFiles(rec.ID, c.files)
	if err != nil {
		return nil, err
	}
	w.Mounts = slices.Concat(w.Mounts, files, secret)
	if w.Init {
		w.Mounts = append(w.Mounts, specs.Mount{Destination: shim.InitPath, Type: "bind", Source: e.cfg.Shim, Options: []string{"bind", "rprivate", "ro"}})
	}
	if w.Namespaces, err = e.joined(rec.HostConfig, box.Path); err != nil {
		return nil, err
	}
	w.Order = orderOf(rec)
	w.Order.Exit, w.Order.Attach, w.Order.Cgroup = filepath.Join(c.Dir(), "exit.json"), c.AttachSocket(), w.Cgroup
	if err := logOrder(&w.Order, rec.HostConfig.LogConfig, rec.Config, c.LogPath()); err != nil {
		return nil, err
	}
	s, err := Spec(w)
	if err != nil {
		return nil, err
	}
	return c.newTask(ctx, s)
}

// orderOf is the part of the shim's order that depends on the configuration alone.
func orderOf(rec Record) wire.Order {
	return wire.Order{Stdin: rec.Config.OpenStdin, StdinOnce: rec.Config.StdinOnce}
}

// newTask gives the spec to containerd and makes the process, which waits.
func (c *Container) newTask(ctx context.Context, s *specs.Spec) (*run, error) {
	e := c.engine
	cl := e.cfg.Containerd.Client()
	ctr, err := cl.NewContainer(ctx, c.ID(), client.WithSnapshotter(snapshotter), client.WithSnapshot(c.ID()),
		client.WithRuntime(e.cfg.Shim, &options.Options{Root: filepath.Join(e.cfg.ExecRoot, "runc"), BinaryName: e.cfg.Runc}),
		client.WithSpec(s))
	if err != nil {
		return nil, fmt.Errorf("failed to create container: %w", err)
	}
	t, err := ctr.NewTask(ctx, func(string) (cio.IO, error) { return shimIO{s.Process.Terminal}, nil })
	if err != nil {
		return nil, startError(err, s.Process.Args)
	}
	return &run{task: t, process: s.Process, done: make(chan struct{})}, nil
}

// shimIO leaves the container's streams to the shim; only the terminal must be asked for.
type shimIO struct{ terminal bool }

func (s shimIO) Config() cio.Config { return cio.Config{Terminal: s.terminal} }
func (shimIO) Cancel()              {}
func (shimIO) Wait()                {}
func (shimIO) Close() error         { return nil }

// startError reads runc's words and gives them Docker's codes: 127 the command is not there, 126 it cannot be run.
func startError(err error, args []string) error {
	text := err.Error()
	r := &runtimeError{code: 128, err: fmt.Errorf("failed to create task for container: %w", err)}
	contains := func(all ...string) bool {
		return slices.ContainsFunc(all, func(s string) bool { return strings.Contains(text, s) })
	}
	if errdefs.IsUnavailable(err) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return r.err
	}
	switch named := len(args) > 0 && strings.Contains(text, "exec: "); {
	case named && contains("executable file not found", "no such file or directory"):
		r.code = 127
	case contains("permission denied", "is a directory", "exec format error") && named:
		r.code = 126
	}
	r.err = cluster.Errorf(errdefs.ErrInvalidArgument, "failed to create task for container: %s", strings.TrimSuffix(text, ": unknown"))
	return r
}

// request is the container's wish for its networks.
func (c *Container) request(rec Record) network.Request {
	r := network.Request{
		ContainerID: rec.ID, Name: rec.Name, Hostname: rec.Config.Hostname, TaskID: rec.TaskID,
		Overlays: rec.Overlays, Ports: rec.Ports, DNS: dnsServers(rec.HostConfig, c.engine.cfg.DNS),
	}
	mode := rec.HostConfig.NetworkMode
	switch {
	case rec.Config.NetworkDisabled || mode.IsNone():
		r.Mode = "none"
	case mode.IsHost():
		r.Mode = "host"
	case mode.IsContainer():
		r.Mode = "container:" + mode.ConnectedContainer()
		if other, err := c.engine.Find(mode.ConnectedContainer()); err == nil {
			r.Mode = "container:" + other.ID()
		}
	case len(rec.Endpoints) > 0:
		for name, ep := range rec.Endpoints {
			r.Local = append(r.Local, attachment(name, ep))
		}
		slices.SortFunc(r.Local, func(a, b network.LocalAttachment) int { return strings.Compare(a.Network, b.Network) })
	case rec.TaskID == "" || len(rec.Overlays) == 0:
		r.Local = []network.LocalAttachment{{Network: string(mode)}}
	}
	if rec.TaskID == "" {
		r.Ports, r.Bind = boundPorts(rec.HostConfig, rec.Config)
	}
	return r
}

// attachment is an endpoint's settings as the network wants them.
func attachment(name string, ep *apinet.EndpointSettings) network.LocalAttachment {
	l := network.LocalAttachment{Network: name}
	if name == "default" {
		l.Network = "bridge"
	}
	if ep != nil {
		l.Aliases = ep.Aliases
		if ep.IPAMConfig != nil {
			l.IPv4, l.IPv6 = ep.IPAMConfig.IPv4Address, ep.IPAMConfig.IPv6Address
		}
	}
	return l
}

// boundPorts turns a plain container's port bindings into host-mode ports, in order, so that they bind alike each time.
func boundPorts(h *container.HostConfig, c *container.Config) (ports []swarm.PortConfig, bind []netip.Addr) {
	add := func(target uint16, proto string, published uint32, ip netip.Addr) {
		ports = append(ports, swarm.PortConfig{Protocol: apinet.IPProtocol(proto), TargetPort: uint32(target), PublishedPort: published, PublishMode: swarm.PortConfigPublishModeHost})
		bind = append(bind, ip)
	}
	for p, all := range h.PortBindings {
		for _, b := range all {
			var published uint32
			_, _ = fmt.Sscanf(b.HostPort, "%d", &published) // empty: any free one
			ip := b.HostIP
			if ip.IsUnspecified() {
				ip = netip.Addr{}
			}
			add(p.Num(), string(p.Proto()), published, ip)
		}
	}
	if h.PublishAllPorts {
		for p := range c.ExposedPorts {
			if _, bound := h.PortBindings[p]; !bound {
				add(p.Num(), string(p.Proto()), 0, netip.Addr{})
			}
		}
	}
	order := make([]int, len(ports))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmpOr(int(ports[a].TargetPort)-int(ports[b].TargetPort), cmpOr(strings.Compare(string(ports[a].Protocol), string(ports[b].Protocol)),
			cmpOr(int(ports[a].PublishedPort)-int(ports[b].PublishedPort), bind[a].Compare(bind[b]))))
	})
	sortedPorts, sortedBind := make([]swarm.PortConfig, len(ports)), make([]netip.Addr, len(ports))
	for i, j := range order {
		sortedPorts[i], sortedBind[i] = ports[j], bind[j]
	}
	return sortedPorts, sortedBind
}

// joined are the namespaces that the container shares with the node or with another container.
func (e *Engine) joined(h *container.HostConfig, netns string) (map[specs.LinuxNamespaceType]string, error) {
	all := map[specs.LinuxNamespaceType]string{specs.NetworkNamespace: netns}
	of := func(ref, kind string) (string, error) {
		c, err := e.Find(ref)
		if err != nil {
			return "", err
		}
		s := c.Record().State
		if !s.Running() {
			return "", cluster.Errorf(errdefs.ErrConflict, "cannot join namespace of a non running container: container %s is %s", c.Name(), s.Status)
		}
		return fmt.Sprintf("/proc/%d/ns/%s", s.Pid, kind), nil
	}
	if h.UTSMode.IsHost() {
		all[specs.UTSNamespace] = ""
	}
	var err error
	switch {
	case h.PidMode.IsHost():
		all[specs.PIDNamespace] = ""
	case h.PidMode.IsContainer():
		if all[specs.PIDNamespace], err = of(h.PidMode.Container(), "pid"); err != nil {
			return nil, err
		}
	}
	switch {
	case h.IpcMode.IsHost():
		all[specs.IPCNamespace] = ""
	case h.IpcMode.IsContainer():
		if all[specs.IPCNamespace], err = of(h.IpcMode.Container(), "ipc"); err != nil {
			return nil, err
		}
	}
	return all, nil
}
