package agent

import (
	"context"
	"log/slog"
	"net"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/ca"
	"shoal/internal/cluster"
)

// Secrets is what tasks need of secrets and configs, in full.
type Secrets = cluster.Secrets

// Executor runs tasks. Every call is idempotent and its errors carry a class. Bodies: engine and sim.
type Executor interface {
	// Describe says what the node is; TLSInfo is the agent's to fill in.
	Describe(ctx context.Context) (swarm.NodeDescription, error)
	// List is the task containers of this node, after a restart of the daemon too.
	List(ctx context.Context) ([]cluster.Running, error)
	// Prepare pulls, attaches and creates. A failure is REJECTED.
	Prepare(ctx context.Context, a cluster.Assignment, secrets Secrets) error
	// Start returns when the container runs, and is healthy if it has a health check.
	Start(ctx context.Context, taskID string) (swarm.TaskStatus, error)
	// Wait ends when the container has ended or become unhealthy.
	Wait(ctx context.Context, taskID string) (cluster.Exit, error)
	// Stop sends the stop signal, waits the grace period and kills.
	Stop(ctx context.Context, taskID string) error
	// Remove removes the container and what was made for it.
	Remove(ctx context.Context, taskID string) error
}

// Network is the node's data plane.
type Network interface {
	// Set returns when kernel and DNS hold the state.
	Set(ctx context.Context, state cluster.NetworkState) error
}

// Config says what an agent works with. Dir, Identity, Executor and Network must be set.
type Config struct {
	Dir      string // the agent's own: data-root/agent
	Identity *ca.Identity
	// Save keeps a renewed bundle on disk, before it is put in use. nil: it is not kept.
	Save     func(ca.Bundle) error
	Executor Executor
	Network  Network
	// Managers are where to look first, host:port; more are learnt and remembered.
	Managers []string
	// Call answers a manager's call over the stream that the agent opened back, and returns when it is over; it is
	// relay.Serve with the node's API handler. nil: calls are not answered.
	Call func(net.Conn)
	// Node hears of changes of the node's own object (role, availability, labels). It must not block.
	Node func(*cluster.Node)
	// Parallel is how many tasks are prepared at once; 8 when 0.
	Parallel int
	Log      *slog.Logger
}

// State is what the agent knows of its place in the cluster.
type State struct {
	Connected bool // it has a session with the leader
	Managers  []swarm.Peer
	Node      *cluster.Node // nil until the first session
	Since     time.Time     // of Connected's present value
}
