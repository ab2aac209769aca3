package engine

import (
	"maps"
	"slices"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// Merge returns the configuration with what it leaves open taken from the image's. Neither is changed.
func Merge(config *container.Config, image dockerspec.DockerOCIImageConfig) *container.Config {
	c := *config
	if c.User == "" {
		c.User = image.User
	}
	if c.WorkingDir == "" {
		c.WorkingDir = image.WorkingDir
	}
	if c.StopSignal == "" {
		c.StopSignal = image.StopSignal
	}
	if len(c.Shell) == 0 {
		c.Shell = image.Shell
	}
	c.Env = override(image.Env, c.Env)
	c.Labels = union(image.Labels, c.Labels)
	c.Volumes = union(image.Volumes, c.Volumes)
	if len(image.ExposedPorts) > 0 {
		ports := maps.Clone(c.ExposedPorts)
		if ports == nil {
			ports = network.PortSet{}
		}
		for p := range image.ExposedPorts {
			if port, err := network.ParsePort(p); err == nil { // an image may say anything; ports are only shown
				ports[port] = struct{}{}
			}
		}
		c.ExposedPorts = ports
	}
	switch {
	case len(c.Entrypoint) == 0: // the image's entry point, and its command if none was given
		if len(c.Cmd) == 0 {
			c.Cmd = slices.Clone(image.Cmd)
		}
		if c.Entrypoint == nil {
			c.Entrypoint = slices.Clone(image.Entrypoint)
		}
	case len(c.Entrypoint) == 1 && c.Entrypoint[0] == "": // --entrypoint "" takes the image's away
		c.Entrypoint = nil
	}
	c.Healthcheck = mergeHealth(c.Healthcheck, image.Healthcheck)
	return &c
}

func mergeHealth(own, image *container.HealthConfig) *container.HealthConfig {
	if own == nil || image == nil {
		if own == nil {
			return image
		}
		return own
	}
	h := *own
	if len(h.Test) == 0 {
		h.Test = image.Test
	}
	for _, f := range []struct {
		to   *int64
		from int64
	}{
		{(*int64)(&h.Interval), int64(image.Interval)},
		{(*int64)(&h.Timeout), int64(image.Timeout)},
		{(*int64)(&h.StartPeriod), int64(image.StartPeriod)},
		{(*int64)(&h.StartInterval), int64(image.StartInterval)},
	} {
		if *f.to == 0 {
			*f.to = f.from
		}
	}
	if h.Retries == 0 {
		h.Retries = image.Retries
	}
	return &h
}

// union returns both maps in one, of which more wins; nil when both are empty.
func union[K comparable, V any](base, more map[K]V) map[K]V {
	if len(base) == 0 {
		return maps.Clone(more)
	}
	all := maps.Clone(base)
	maps.Copy(all, more)
	return all
}
