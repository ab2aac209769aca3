package engine

import (
	"context"
	"log/slog"
	"sync"

	"github.com/containerd/containerd/v2/client"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/swarm"
)

// Namespace is the containerd namespace that holds every container and image of the daemon.
const Namespace = "shoal"

// Config says what an engine works with. Every field not called optional must be set.
type Config struct {
	DataRoot   string // absolute; containers live in DataRoot/containers
	ExecRoot   string // absolute and short; runc's state, FIFOs of exec, attach sockets
	Containerd Containerd
	Images     Images
	Volumes    Volumes
	Network    Network
	Runc, Shim string // absolute paths of the binaries
	// CgroupParent is the parent cgroup of this daemon's containers alone; "/shoal" when empty.
	CgroupParent string
	Hostname     string                  // the node's name; the machine's when empty
	Version      string                  // EngineVersion of the node's description; optional
	Labels       map[string]string       // the engine's labels (dockerd --label); optional
	Generic      []swarm.GenericResource // what the node can give to tasks beside processors and memory; optional
	// LogConfig is the log driver and its options for containers that name none; json-file when empty.
	LogConfig container.LogConfig
	// DNS, DNSSearch and DNSOptions serve containers that name none; the node's resolv.conf when empty.
	DNS, DNSSearch, DNSOptions []string
	Init                       bool // makes --init the default
	Parallel                   int  // how many containers are prepared at once; 8 when 0
	Log                        *slog.Logger
}

// Containerd gives the present connection to containerd; the supervisor of package containerd is the one body.
type Containerd interface {
	Client() *client.Client
}

// Engine is the node's containers. All methods may be called concurrently.
type Engine struct {
	cfg   Config
	log   *slog.Logger
	bus   *Bus
	slots chan struct{} // bounds how many containers are made at once
	node  Node          // what the kernel can do
	execs execs

	ctx    context.Context // ends with Close; the life of every watcher
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu         sync.Mutex
	containers map[string]*Container // by ID
	names      map[string]string     // name → ID, taken before the container exists
	tasks      map[string]string     // task ID → container ID
}
