package cluster

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/moby/moby/api/types/swarm"
)

// Task is one slot's instance of a service, or a plain container's attachment to an overlay network. It moves one way
// through its states and is replaced, never moved to another node.
type Task struct {
	ID string
	swarm.Meta
	ServiceID   string `json:",omitempty"` // empty: a network attachment of a plain container
	ServiceName string `json:",omitempty"` // a service is never renamed, so this copy cannot go stale
	// Container is the plain container that an attachment is for.
	Container    *PlainContainer `json:",omitempty"`
	SpecID       string          // names a [Spec]; empty: a network attachment
	Slot         int             `json:",omitempty"` // 1 and up; 0 for global modes
	NodeID       string          `json:",omitempty"` // empty: not placed yet
	DesiredState swarm.TaskState // READY, RUNNING, COMPLETE, SHUTDOWN or REMOVE
	Status       swarm.TaskStatus
	Attachments  []Attachment            `json:",omitempty"`
	Ports        []swarm.PortConfig      `json:",omitempty"` // host-mode ports
	Generic      []swarm.GenericResource `json:",omitempty"` // generic resources given to the task
	JobIteration uint64                  `json:",omitempty"`

	// Moving says that the task, which runs, is to be replaced on another node so that its service spreads better.
	Moving bool `json:",omitempty"`
	// LeftIndex is the store index at which the task left load balancing; 0 while it may be in it. SIGTERM waits until
	// all READY nodes have applied it.
	LeftIndex uint64 `json:",omitempty"`
	// LeftAt is when the task left load balancing; the drain time is counted from it.
	LeftAt time.Time `json:",omitzero"`
	// StartedAt is when the task was first RUNNING (Status.Timestamp of that report); update monitors and the restart
	// back-off count from it. It stays when the task ends.
	StartedAt time.Time `json:",omitzero"`
	// StartAfter holds a task at READY until then: the restart delay.
	StartAfter time.Time `json:",omitzero"`
	// Failures counts the failures in a row that this slot has had when the task was made; the back-off grows with it.
	Failures int `json:",omitempty"`
	// Restarts are the times at which this slot was restarted under its present spec, newest last, as many as
	// RestartPolicy.MaxAttempts needs.
	Restarts []time.Time `json:",omitempty"`
}

// Name is the task's full name, which its container bears: "web.3.<id>", or "web.<node>.<id>" in global modes.
func (t *Task) Name() string {
	switch {
	case t.Container != nil && t.Container.Name != "":
		return t.Container.Name
	case t.ServiceName == "":
		return t.ID
	case t.Slot == 0:
		return fmt.Sprintf("%s.%s.%s", t.ServiceName, t.NodeID, t.ID)
	}
	return fmt.Sprintf("%s.%d.%s", t.ServiceName, t.Slot, t.ID)
}

// Attached says whether the task stands for a plain container's place in a network: no node has to run it.
func (t *Task) Attached() bool { return t.Container != nil }

// PlainContainer is a container that no service made, as its node knows it.
type PlainContainer struct {
	ID   string
	Name string `json:",omitempty"`
}

// AttachRequest asks for a plain container's place in an attachable network.
type AttachRequest struct {
	Network   string // ID, name or the unique beginning of an ID
	Container PlainContainer
	Address   netip.Addr `json:",omitzero"` // a certain one of either family; zero: any
	Aliases   []string   `json:",omitempty"`
}

// Place is what an [AttachRequest] gets.
type Place struct {
	TaskID     string // stands for it in the store
	Container  PlainContainer
	Attachment Attachment
}

// Attachment is a task's place in one network.
type Attachment struct {
	NetworkID string
	Addresses []netip.Prefix `json:",omitempty"` // one per family; none for networks of the node's own (host, none, bridge)
	Aliases   []string       `json:",omitempty"`
}

// Spec is an interned task template: tasks with equal templates share one. A task is out of date when its SpecID is
// not its service's.
type Spec struct {
	ID string // digest of Task and HostPorts; see [SpecID]
	swarm.Meta
	Task      swarm.TaskSpec
	HostPorts []swarm.PortConfig `json:",omitempty"`
	// RegistryAuth is the client's X-Registry-Auth. It goes only to nodes that run the spec, never out of the API.
	RegistryAuth string `json:",omitempty"`
}

// Terminal says whether a task in this state has ended for good.
func Terminal(s swarm.TaskState) bool { return Rank(s) > Rank(swarm.TaskStateRunning) }

// states are all task states in the order of their ranks.
var states = []swarm.TaskState{
	swarm.TaskStateNew,
	swarm.TaskStateAllocated,
	swarm.TaskStatePending,
	swarm.TaskStateAssigned,
	swarm.TaskStateAccepted,
	swarm.TaskStatePreparing,
	swarm.TaskStateReady,
	swarm.TaskStateStarting,
	swarm.TaskStateRunning,
	swarm.TaskStateComplete,
	swarm.TaskStateShutdown,
	swarm.TaskStateFailed,
	swarm.TaskStateRejected,
	swarm.TaskStateRemove,
	swarm.TaskStateOrphaned,
}

// Rank orders task states: a task only ever moves to a higher one. An unknown state ranks 0, as NEW does.
func Rank(s swarm.TaskState) int {
	switch s { // no map: this is asked several times for each status of each task
	case swarm.TaskStateAllocated:
		return 1
	case swarm.TaskStatePending:
		return 2
	case swarm.TaskStateAssigned:
		return 3
	case swarm.TaskStateAccepted:
		return 4
	case swarm.TaskStatePreparing:
		return 5
	case swarm.TaskStateReady:
		return 6
	case swarm.TaskStateStarting:
		return 7
	case swarm.TaskStateRunning:
		return 8
	case swarm.TaskStateComplete:
		return 9
	case swarm.TaskStateShutdown:
		return 10
	case swarm.TaskStateFailed:
		return 11
	case swarm.TaskStateRejected:
		return 12
	case swarm.TaskStateRemove:
		return 13
	case swarm.TaskStateOrphaned:
		return 14
	}
	return 0
}

// States are all task states in the order of their ranks.
func States() []swarm.TaskState { return slices.Clone(states) }
