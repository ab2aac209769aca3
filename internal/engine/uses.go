package engine

import (
	"context"

	"github.com/moby/moby/api/types/volume"

	"shoal/internal/image"
	"shoal/internal/network"
)

// Images is what the engine needs of the node's images; *image.Store is the one body.
type Images interface {
	// Ensure returns the image that ref names, pulling it when the node lacks it. auth is an X-Registry-Auth.
	Ensure(ctx context.Context, ref, auth string) (*image.Image, error)
	// Get returns an image that the node has. ErrNotFound: it has not.
	Get(ctx context.Context, ref string) (*image.Image, error)
}

// Volumes is what the engine needs of the node's volumes; *volume.Store is the one body.
type Volumes interface {
	// Create returns the volume of that name, making it when there is none.
	Create(volume.CreateRequest) (volume.Volume, error)
	// Mount holds a volume for a user, a container's ID, and returns its directory.
	Mount(ctx context.Context, name, user string) (string, error)
	Unmount(name, user string) error
	// Populate copies a directory into the volume if that is empty.
	Populate(name, src string) error
	Remove(name string, force bool) error
}

// Network is what the engine needs of the node's network; *network.Network is the one body.
type Network interface {
	Attach(context.Context, network.Request) (*network.Sandbox, error)
	Detach(ctx context.Context, containerID string) error
	Sandbox(containerID string) (*network.Sandbox, bool)
	Retain(containerIDs []string)
	// Connect and Disconnect change the interfaces of a container that has a sandbox.
	Connect(ctx context.Context, containerID string, l network.LocalAttachment) error
	Disconnect(ctx context.Context, containerID, network string) error
}
