package network

import (
	"context"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/network"

	"shoal/internal/cluster"
)

// Network is one node's data plane. Its methods may be called from many goroutines.
type Network struct {
	config Config
}

// New reads what the kernel holds, repairs what differs and answers names again.
func New(config Config) (*Network, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	return &Network{config: config}, nil
}

// Attach gives a container its network namespace, links, addresses, names and ports, all ready when it returns. It is
// idempotent by ContainerID. It waits until the newest state names the request's swarm networks, or ctx ends. After an
// error nothing of the container is left.
func (n *Network) Attach(ctx context.Context, r Request) (*Sandbox, error) {
	return nil, errdefs.ErrNotImplemented
}

// Detach removes all that Attach made; an unknown container is no error.
func (n *Network) Detach(ctx context.Context, containerID string) error { return errdefs.ErrNotImplemented }

// Sandbox is the place that Attach gave a container.
func (n *Network) Sandbox(containerID string) (*Sandbox, bool) { return nil, false }

// Retain removes what containers hold that are not named: those that ended while the daemon was away.
func (n *Network) Retain(containerIDs []string) {}

// Identify tells which of the state's nodes this one is. Without it the one is taken whose address is the node's own.
func (n *Network) Identify(nodeID string) {}

// Set makes kernel and name server hold the state, which is the whole of it: what it does not name goes. It returns when
// they do. After an error part of it may hold; the next Set reads the kernel again and repairs.
func (n *Network) Set(ctx context.Context, state cluster.NetworkState) error { return errdefs.ErrNotImplemented }

// CreateLocal makes a network of the node's own.
func (n *Network) CreateLocal(ctx context.Context, req api.CreateRequest) (api.CreateResponse, error) {
	return api.CreateResponse{}, errdefs.ErrNotImplemented
}

// ListLocal is bridge, host, none and what users made, with their containers.
func (n *Network) ListLocal(ctx context.Context) ([]api.Inspect, error) { return nil, errdefs.ErrNotImplemented }

// InspectLocal finds a network by ID, name or the unique beginning of an ID.
func (n *Network) InspectLocal(ctx context.Context, ref string) (api.Inspect, error) {
	return api.Inspect{}, errdefs.ErrNotImplemented
}

// RemoveLocal removes a network that users made and no container is in.
func (n *Network) RemoveLocal(ctx context.Context, ref string) error { return errdefs.ErrNotImplemented }

// SwarmEndpoints is this node's containers in a swarm network, by container ID.
func (n *Network) SwarmEndpoints(ctx context.Context, networkID string) map[string]api.EndpointResource {
	return nil
}

// Close stops answering names and leaves the data plane in place, for the daemon that comes next.
func (n *Network) Close() error { return nil }

// Purge removes every trace of ours from kernel and disk. The Network is of no use after it.
func (n *Network) Purge() error { return errdefs.ErrNotImplemented }
