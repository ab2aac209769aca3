package engine

import (
	"context"
	"maps"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"

	"shoal/internal/cluster"
)

// Connect puts a container into one more network, by the network's name; one that does not run joins it at its start.
// ErrPermissionDenied, in Docker's words, when it is in it already or shares another's network.
func (e *Engine) Connect(ctx context.Context, ref, name string, ep *network.EndpointSettings) error {
	return e.changeNetworks(ctx, ref, func(c *Container, rec Record, endpoints map[string]*network.EndpointSettings) error {
		if _, in := endpoints[name]; in && rec.TaskID == "" {
			return cluster.Errorf(errdefs.ErrPermissionDenied, "endpoint with name %s already exists in network %s", rec.Name, name)
		}
		if mode := rec.HostConfig.NetworkMode; mode.IsHost() || mode.IsContainer() {
			return cluster.Errorf(errdefs.ErrPermissionDenied, "container sharing network namespace with another container or host cannot be connected to any other network")
		}
		if ep == nil {
			ep = &network.EndpointSettings{}
		}
		endpoints[name] = ep
		if !rec.State.Running() {
			return nil
		}
		return e.cfg.Network.Connect(ctx, c.ID(), attachment(name, ep))
	})
}

// Disconnect takes a container out of a network, by the network's name. ErrPermissionDenied: it is not in it.
func (e *Engine) Disconnect(ctx context.Context, ref, name string) error {
	return e.changeNetworks(ctx, ref, func(c *Container, rec Record, endpoints map[string]*network.EndpointSettings) error {
		if _, in := endpoints[name]; !in && rec.TaskID == "" {
			return cluster.Errorf(errdefs.ErrPermissionDenied, "container %s is not connected to network %s", c.ID(), name)
		}
		delete(endpoints, name)
		if !rec.State.Running() {
			return nil
		}
		return e.cfg.Network.Disconnect(ctx, c.ID(), name)
	})
}

// changeNetworks has change edit what a plain container asks for; the record keeps it when change succeeds. A task's
// networks are its service's: of them nothing is kept.
func (e *Engine) changeNetworks(ctx context.Context, ref string, change func(c *Container, rec Record, endpoints map[string]*network.EndpointSettings) error) error {
	c, release, err := e.owned(ctx, ref)
	if err != nil {
		return err
	}
	defer release()
	rec := c.Record()
	endpoints := maps.Clone(rec.Endpoints)
	if len(endpoints) == 0 {
		endpoints = map[string]*network.EndpointSettings{}
		if box, ok := e.cfg.Network.Sandbox(rec.ID); ok {
			for in := range box.Endpoints {
				endpoints[in] = &network.EndpointSettings{}
			}
		} else if mode := rec.HostConfig.NetworkMode; mode.IsBridge() || mode.IsUserDefined() {
			endpoints[string(mode)] = &network.EndpointSettings{}
		}
	}
	if err := change(c, rec, endpoints); err != nil {
		return err
	}
	if rec.TaskID == "" {
		if err := c.update(func(r *Record) { r.Endpoints = endpoints }); err != nil {
			return err
		}
	}
	return c.renameNetworks(rec)
}

// renameNetworks brings the files with a running container's names up to date. They are written in place, since the
// container has them mounted.
func (c *Container) renameNetworks(rec Record) error {
	box, ok := c.engine.cfg.Network.Sandbox(rec.ID)
	if !ok || !rec.State.Running() {
		return nil
	}
	all, err := mountings(rec.Config, rec.HostConfig)
	if err != nil {
		return err
	}
	_, err = c.writeNames(c.engine.namesOf(rec.Config, rec.HostConfig, box), func(t string) bool { return hasMount(all, t) })
	return err
}

// NetworkEvent tells the bus's readers that a container has joined or left a network.
func (e *Engine) NetworkEvent(action events.Action, networkID, name, driver, containerID string) {
	e.Events().Publish(events.NetworkEventType, action, networkID, map[string]string{"container": containerID, "name": name, "type": driver})
}
