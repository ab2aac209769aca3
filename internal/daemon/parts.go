package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"

	"github.com/moby/moby/api/types/events"

	"shoal/internal/api"
	"shoal/internal/cluster"
	"shoal/internal/engine"
	"shoal/internal/image"
)

func (d *daemon) openEngine(ctx context.Context) error {
	runc, err := d.binary("runc")
	if err != nil {
		return err
	}
	shim, err := d.binary("containerd-shim-shoal-v1")
	if err != nil {
		return err
	}
	generic, err := genericResources(d.cfg.Generic)
	if err != nil {
		return err
	}
	d.engine, err = engine.New(ctx, engine.Config{
		DataRoot: d.cfg.DataRoot, ExecRoot: d.cfg.ExecRoot, Containerd: d.containerd, Images: d.images, Volumes: d.volumes,
		Network: d.places, Runc: runc, Shim: shim, CgroupParent: cgroupParent(d.cfg.ExecRoot), Version: cluster.Version,
		Labels: labelMap(d.cfg.Labels), Generic: generic, DNS: d.cfg.DNS, Log: d.log,
	})
	if err != nil {
		return err
	}
	d.volumes.SetInUse(d.engine.VolumeUsers)
	d.onClose("containers", d.engine.Close)
	return nil
}

// cgroupParent keeps the containers of daemons on one machine apart.
func cgroupParent(execRoot string) string {
	if execRoot == Defaults().ExecRoot {
		return "/shoal"
	}
	return "/shoal-" + shortHash(execRoot)
}

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(filepath.Clean(s)))
	return hex.EncodeToString(sum[:])[:5]
}

func (d *daemon) imageUsers(id string) []image.User {
	if d.engine == nil {
		return nil
	}
	return d.engine.ImageUsers(id)
}

func (d *daemon) imageEvent(action events.Action, id string, attributes map[string]string) {
	if d.engine != nil {
		d.engine.Events().Publish(events.ImageEventType, action, id, attributes)
	}
}

func (d *daemon) openAPI(ctx context.Context) error {
	d.node = newNode(d.cfg, d.engine.Executor(), d.network, d.engine.Events().Send, d.log)
	d.node.places = d.places
	d.api = api.New(api.Config{
		Local: api.Local{Engine: d.engine, Images: d.images, Volumes: d.volumes},
		Swarm: d.node, Rescue: d.node, Networks: d.network, Connector: connector{d}, SwarmNetworks: d.places.swarmNetworks, AuditNetwork: d.network.Audit, Logs: d.node, Facts: d.facts(ctx), Counts: d.counts, Log: d.log,
	})
	d.node.api = d.api
	return nil
}

func (d *daemon) openNode(context.Context) error {
	d.onClose("swarm", d.node.close)
	if err := d.node.start(); err != nil {
		d.log.Error("the node's part in its swarm does not start", "error", err) // the API tells it, and containers go on
	}
	d.places.begin(d.node.leaderSession)
	return nil
}
