package engine

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"

	"shoal/internal/cluster"
	"shoal/internal/shim/wire"
)

// Log drivers. Both that write use the json-file format.
const (
	driverJSON  = "json-file"
	driverLocal = "local"
	driverNone  = "none"
)

// logOrder fills in how the shim writes a container's log. ErrInvalidArgument: an unknown driver or option, in Docker's
// words. It is pure.
func logOrder(o *wire.Order, cfg container.LogConfig, c *container.Config, path string) error {
	known := []string{"max-size", "max-file", "compress", "labels", "labels-regex", "env", "env-regex", "tag", "mode", "max-buffer-size"}
	switch cfg.Type {
	case driverNone:
		return nil
	case driverLocal:
		o.MaxSize, o.MaxFiles = 20<<20, 5
	case driverJSON, "":
	default:
		return cluster.Errorf(errdefs.ErrInvalidArgument, "logger: no log driver named '%s' is registered", cfg.Type)
	}
	o.Log = path
	for k, v := range cfg.Config {
		if !slices.Contains(known, k) {
			return cluster.Errorf(errdefs.ErrInvalidArgument, "unknown log opt '%s' for %s log driver", k, cfg.Type)
		}
		switch k {
		case "max-size":
			n, err := units.RAMInBytes(v)
			if v == "-1" {
				n, err = 0, nil
			}
			if err != nil || n < 0 {
				return cluster.Errorf(errdefs.ErrInvalidArgument, "invalid value for max-size: %q", v)
			}
			o.MaxSize = n
		case "max-file":
			n, err := strconv.Atoi(v)
			if err != nil || n < 1 {
				return cluster.Errorf(errdefs.ErrInvalidArgument, "max-file cannot be less than 1")
			}
			o.MaxFiles = n
		}
	}
	if o.MaxFiles > 1 && o.MaxSize == 0 && cfg.Config["max-file"] != "" && cfg.Config["max-size"] == "" && cfg.Type != driverLocal {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "max-size must be set when max-file is set")
	}
	attrs := logAttrs(cfg.Config, c)
	if len(attrs) == 0 {
		return nil
	}
	b, err := json.Marshal(attrs)
	if err != nil {
		return fmt.Errorf("log attributes: %w", err)
	}
	o.Attrs = b
	return nil
}

// logAttrs are the labels and variables that go with each line (--log-opt labels=a,b).
func logAttrs(opts map[string]string, c *container.Config) map[string]string {
	attrs := map[string]string{}
	for k := range strings.SplitSeq(opts["labels"], ",") {
		if v, ok := c.Labels[k]; ok && k != "" {
			attrs[k] = v
		}
	}
	wanted := strings.Split(opts["env"], ",")
	for _, e := range c.Env {
		if k, v, ok := strings.Cut(e, "="); ok && slices.Contains(wanted, k) {
			attrs[k] = v
		}
	}
	return attrs
}
