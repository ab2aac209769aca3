package daemon

import (
	"context"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"
	apinet "github.com/moby/moby/api/types/network"
)

// connector is what the API's connect and disconnect need.
type connector struct{ d *daemon }

func (c connector) ConnectNetwork(ctx context.Context, ref string, req apinet.ConnectRequest) error {
	return c.change(ctx, ref, req.Container, events.ActionConnect, func(name string) error {
		return c.d.engine.Connect(ctx, req.Container, name, req.EndpointConfig)
	})
}

func (c connector) DisconnectNetwork(ctx context.Context, ref string, req apinet.DisconnectRequest) error {
	return c.change(ctx, ref, req.Container, events.ActionDisconnect, func(name string) error {
		return c.d.engine.Disconnect(ctx, req.Container, name)
	})
}

func (c connector) SwarmEndpoints(ctx context.Context, networkID string) map[string]apinet.EndpointResource {
	return c.d.network.SwarmEndpoints(ctx, networkID)
}

// change finds the network's name, which the container's record has it by, and tells of the change.
func (c connector) change(ctx context.Context, ref, container string, action events.Action, do func(name string) error) error {
	n, err := c.find(ctx, ref)
	if err != nil {
		return err
	}
	if err := do(n.Name); err != nil {
		return err
	}
	if found, err := c.d.engine.Find(container); err == nil {
		c.d.engine.NetworkEvent(action, n.ID, n.Name, n.Driver, found.ID())
	}
	return nil
}

func (c connector) find(ctx context.Context, ref string) (apinet.Inspect, error) {
	n, err := c.d.network.InspectLocal(ctx, ref)
	if !errdefs.IsNotFound(err) {
		return n, err
	}
	list, swarmErr := c.d.places.swarmNetworks(ctx, false)
	if swarmErr != nil {
		return n, swarmErr
	}
	for _, n := range list {
		if n.ID == ref || n.Name == ref {
			return n, nil
		}
	}
	return n, err
}
