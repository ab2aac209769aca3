package api

import (
	"context"
	"iter"
	"time"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/system"

	"shoal/internal/cluster"
)

// Networks is the node's own networks, and the place of its containers in any network. Refs are full IDs, names or
// unique beginnings of IDs, in this order.
type Networks interface {
	CreateLocal(ctx context.Context, req network.CreateRequest) (network.CreateResponse, error)
	// ListLocal is all of them with their containers: bridge, host, none and what users made.
	ListLocal(ctx context.Context) ([]network.Inspect, error)
	// InspectLocal is ErrNotFound "network x not found" for those of the swarm too.
	InspectLocal(ctx context.Context, ref string) (network.Inspect, error)
	// RemoveLocal is ErrPermissionDenied for the predefined ones and those in use.
	RemoveLocal(ctx context.Context, ref string) error
}

// Connector attaches containers of this node to networks after they were made.
type Connector interface {
	// ConnectNetwork puts the container into the network: one of the node's own, or an attachable one of the swarm.
	ConnectNetwork(ctx context.Context, ref string, req network.ConnectRequest) error
	DisconnectNetwork(ctx context.Context, ref string, req network.DisconnectRequest) error
	// SwarmEndpoints is this node's containers in a network of the swarm, by container ID.
	SwarmEndpoints(ctx context.Context, networkID string) map[string]network.EndpointResource
}

// LogOptions is which lines of a log are wanted. Zero times bound nothing.
type LogOptions struct {
	Stdout, Stderr bool
	Since, Until   time.Time
	Tail           int // lines of the past; < 0: all
	Follow         bool
}

// LogLine is one line of a container's output.
type LogLine struct {
	Stderr bool
	Time   time.Time
	Attrs  map[string]string // the log driver's own attributes (labels, env)
	Text   []byte            // with its line end, if it had one
}

// Logs reads the logs of any task, on whichever node it runs.
type Logs interface {
	// TaskLog yields the lines in order and ends with the log; with Follow, when the task's container is gone or ctx
	// ends. An error ends it too; ErrUnavailable when the task's node cannot be reached.
	TaskLog(ctx context.Context, task *cluster.Task, opts LogOptions) iter.Seq2[LogLine, error]
}

// Facts is what the daemon knows of itself for /version and /info, and what does not change while it runs. Its Base
// has what only the configuration knows (ID, Name, Labels, DockerRootDir, RegistryConfig, Runtimes, DefaultRuntime,
// DefaultAddressPools, GenericResources, Containerd, Driver, DriverStatus, LoggingDriver, Debug, commits …); the API
// fills in the machine's facts, the counts and the Swarm block.
type Facts struct {
	Version, GitCommit, BuildTime string
	Base                          system.Info
	// Components are further parts for /version, such as containerd and runc.
	Components []system.ComponentVersion
}

// Counts is how many objects the node holds now.
type Counts struct {
	Running, Paused, Stopped int // containers
	Images                   int
	EventListeners           int
}
