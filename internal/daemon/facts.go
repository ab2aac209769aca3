package daemon

import (
	"context"
	"os"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/system"

	"shoal/internal/api"
	"shoal/internal/cluster"
	"shoal/internal/image"
)

// facts is what /version and /info tell of the daemon itself.
func (d *daemon) facts(ctx context.Context) api.Facts {
	hostname, err := os.Hostname()
	if err != nil {
		d.log.Warn("the machine has no name", "error", err)
	}
	generic, err := genericResources(d.cfg.Generic)
	if err != nil {
		d.log.Warn("generic resources", "error", err) // the configuration was checked: not to be met
	}
	facts := api.Facts{Version: cluster.Version}
	facts.Base = system.Info{
		ID: shortHash(d.cfg.DataRoot) + hostname, Name: hostname, Labels: d.cfg.Labels, GenericResources: generic, DockerRootDir: d.cfg.DataRoot, Debug: d.cfg.Debug,
		Driver: image.Snapshotter, LoggingDriver: "json-file", DefaultRuntime: "runc",
		Runtimes: map[string]system.RuntimeWithStatus{"runc": {Runtime: system.Runtime{Path: "runc"}}},
	}
	services := registry.ServiceConfig{Mirrors: d.cfg.Mirrors, IndexConfigs: map[string]*registry.IndexInfo{
		"docker.io": {Name: "docker.io", Mirrors: d.cfg.Mirrors, Secure: true, Official: true},
	}}
	for _, r := range d.cfg.Insecure {
		if !strings.Contains(r, "/") {
			services.IndexConfigs[r] = &registry.IndexInfo{Name: r}
		}
	}
	facts.Base.RegistryConfig = &services
	if v, err := d.containerd.Client().Version(ctx); err == nil {
		facts.Components = append(facts.Components, system.ComponentVersion{Name: "containerd", Version: v.Version})
		facts.Base.ContainerdCommit.ID = v.Version
	}
	return facts
}

// counts is how many objects the node holds now.
func (d *daemon) counts(ctx context.Context) api.Counts {
	var c api.Counts
	for _, ctr := range d.engine.Containers() {
		switch ctr.Record().State.Status {
		case container.StateRunning, container.StateRestarting:
			c.Running++
		case container.StatePaused:
			c.Paused++
		default:
			c.Stopped++
		}
	}
	if images, err := d.images.List(ctx, nil); err == nil {
		c.Images = len(images)
	}
	return c
}

func labelMap(labels []string) map[string]string {
	out := make(map[string]string, len(labels))
	for _, l := range labels {
		k, v, _ := strings.Cut(l, "=")
		out[k] = v
	}
	return out
}
