package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"shoal/internal/api"
	"shoal/internal/containerd"
	"shoal/internal/engine"
	"shoal/internal/image"
	"shoal/internal/network"
	"shoal/internal/network/tunnel"
	"shoal/internal/volume"
)

// daemon is a node's parts. They start in the order of the fields and stop in the reverse.
type daemon struct {
	cfg        Config
	log        *slog.Logger
	lock       *os.File
	containerd *containerd.Server
	images     *image.Store
	volumes    *volume.Store
	network    *network.Network
	places     *places // the network, with those of the swarm in it
	engine     *engine.Engine
	node       *node
	api        *api.Server
	listeners  []net.Listener
	closers    []closer
}

// closer is how a part ends.
type closer struct {
	name string
	end  func() error
}

// open starts everything. After an error nothing is left running but what outlives a daemon anyway: containerd and the
// containers.
func open(ctx context.Context, cfg Config, log *slog.Logger) (_ *daemon, err error) {
	bridgeLogrus(log)
	d := &daemon{cfg: cfg, log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"data root", d.openRoot},
		{"listeners", d.openListeners},
		{"containerd", d.openContainerd},
		{"images and volumes", d.openStores},
		{"network", d.openNetwork},
		{"containers", d.openEngine},
		{"API", d.openAPI},
		{"swarm", d.openNode},
		{"metrics", d.openMetrics},
	} {
		if err := step.do(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return d, nil
}

func (d *daemon) onClose(name string, end func() error) {
	d.closers = append(d.closers, closer{name, end})
}

func (d *daemon) openRoot(context.Context) (err error) {
	if d.lock, err = d.cfg.claim(); err != nil {
		return err
	}
	d.onClose("data root", func() error {
		if d.cfg.PidFile != "" {
			os.Remove(d.cfg.PidFile)
		}
		return d.lock.Close()
	})
	return nil
}

func (d *daemon) openListeners(context.Context) (err error) {
	if d.listeners, err = d.cfg.listen(); err != nil {
		return err
	}
	d.onClose("listeners", func() error {
		var errs []error
		for _, l := range d.listeners {
			if err := l.Close(); !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
		return errors.Join(errs...)
	})
	return nil
}

// binary is the path of one of the programs that lie beside this one.
func (d *daemon) binary(name string) (string, error) {
	dir := d.cfg.BinDir
	if dir == "" {
		self, err := os.Executable()
		if err != nil {
			return "", err
		}
		if self, err = filepath.EvalSymlinks(self); err != nil {
			return "", err
		}
		dir = filepath.Dir(self)
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%s is missing beside shoal: run make build, or name its folder with --bin-dir: %w", name, err)
	}
	return path, nil
}

func (d *daemon) openContainerd(ctx context.Context) error {
	binary, err := d.binary("containerd")
	if err != nil && d.cfg.Containerd == "" {
		return err
	}
	d.containerd, err = containerd.Start(ctx, containerd.Config{
		Binary: binary, Root: filepath.Join(d.cfg.DataRoot, "containerd"), State: filepath.Join(d.cfg.ExecRoot, "containerd"),
		Socket: d.cfg.Containerd, Log: d.log,
	})
	if err != nil {
		return err
	}
	d.onClose("containerd", d.containerd.Close)
	return nil
}

func (d *daemon) openStores(context.Context) (err error) {
	d.images, err = image.New(image.Config{
		Client: d.containerd.Client, Mirrors: d.cfg.Mirrors, Insecure: d.cfg.Insecure, Users: d.imageUsers, Event: d.imageEvent, Log: d.log,
	})
	if err != nil {
		return err
	}
	d.volumes, err = volume.New(filepath.Join(d.cfg.DataRoot, "volumes"), d.log)
	return err
}

func (d *daemon) openNetwork(context.Context) (err error) {
	pools := make([]network.Pool, 0, len(d.cfg.AddrPools))
	for _, p := range d.cfg.AddrPools {
		pools = append(pools, network.Pool{Base: p.Base, Size: p.Size})
	}
	hostname, err := os.Hostname()
	if err != nil {
		return err
	}
	d.network, err = network.New(network.Config{
		NodeName: hostname, StateDir: filepath.Join(d.cfg.DataRoot, "network"), RunDir: filepath.Join(d.cfg.ExecRoot, "network"),
		MTU: d.cfg.MTU, DNS: d.cfg.DNS, Pools: pools, NoZones: !d.cfg.Zones,
		WireGuard: tunnel.Mode(d.cfg.Tunnel.Mode), TunnelMemory: d.cfg.Tunnel.Memory, TunnelProcessors: d.cfg.Tunnel.Processors, Log: d.log, Prefix: linkPrefix(d.cfg.ExecRoot),
	})
	if err != nil {
		return err
	}
	d.onClose("network", d.network.Close)
	d.places = newPlaces(d.network, d.log)
	return nil
}

// linkPrefix keeps the links of daemons apart that share a network namespace: the usual exec root has the plain name.
func linkPrefix(execRoot string) string {
	if execRoot == Defaults().ExecRoot {
		return "shoal"
	}
	return "s" + shortHash(execRoot)
}

// streamGrace is how long requests under way may take when the daemon ends, before they are cut off.
const streamGrace = time.Second

// serve answers requests until ctx ends.
func (d *daemon) serve(ctx context.Context) error {
	requests, endRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer endRequests()
	server := &http.Server{
		Handler: d.api, ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(d.log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return requests },
	}
	failed := make(chan error, len(d.listeners))
	for _, l := range d.listeners {
		d.log.Info("API listens", "address", l.Addr().String())
		go func() { failed <- server.Serve(l) }()
	}
	if err := notify("READY=1"); err != nil {
		d.log.Warn("systemd was not told that the daemon is ready", "error", err)
	}
	var err error
	select {
	case <-ctx.Done():
		d.log.Info("daemon ends; containers run on")
	case err = <-failed:
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.cfg.Shutdown)
	defer cancel()
	defer time.AfterFunc(streamGrace, endRequests).Stop() // streams (events, logs -f) do not end by themselves
	if stop := server.Shutdown(end); stop != nil {
		err = errors.Join(err, server.Close())
	}
	return errors.Join(err, d.close())
}

// notify tells systemd about the daemon's state, when systemd started it (sd_notify(3)).
func notify(state string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	conn, err := net.Dial("unixgram", path)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = io.WriteString(conn, state)
	return err
}

func (d *daemon) close() error {
	var errs []error
	for _, c := range slices.Backward(d.closers) {
		if err := c.end(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", c.name, err))
		}
	}
	d.closers = nil
	return errors.Join(errs...)
}
