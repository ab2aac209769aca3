package cluster

import (
	"time"

	"github.com/moby/moby/api/types/swarm"
)

// Assignment is one task with all that its node needs to run it.
type Assignment struct {
	Task          Task
	Spec          swarm.TaskSpec
	ServiceLabels map[string]string `json:",omitempty"` // for templates
	RegistryAuth  string            `json:",omitempty"`
}

// Down is a message from the manager to a node. A node holds what the last full set and the deltas after it say.
type Down struct {
	Full    bool         // the sets below are everything: drop what they do not name
	Index   uint64       // the store index that this message brings the node to
	Tasks   []Assignment `json:",omitempty"` // new or changed
	Gone    []string     `json:",omitempty"` // task IDs to stop, remove and forget
	Secrets []Secret     `json:",omitempty"` // in full: all that the node's tasks need, when Full or when they changed
	Configs []Config     `json:",omitempty"`
	// SecretsSet says that Secrets and Configs replace what the node holds.
	SecretsSet bool          `json:",omitempty"`
	Network    *NetworkState `json:",omitempty"` // in full; nil: unchanged, or Change says how
	// Change leads on from the network state that the session sent last, to a node that can take it (Up.Deltas).
	Change   *NetworkDelta `json:",omitempty"`
	Managers []swarm.Peer  `json:",omitempty"` // nil: unchanged
	Node     *Node         `json:",omitempty"` // the node's own object, when it changed: role, availability, labels
	Root     []byte        `json:",omitempty"` // PEM of the roots to trust, when they changed
	// HeartbeatPeriod is the cluster's; the node beats five times in it. 0: unchanged.
	HeartbeatPeriod time.Duration `json:",omitempty"`
	// Acked is the newest Up.Seq whose statuses are in the store; 0: none new.
	Acked uint64 `json:",omitempty"`
	// Calls asks the node to open a reverse stream for each of these.
	Calls []string `json:",omitempty"`
}

// Secrets is what a node's tasks need of secrets and configs, in full. It lives in memory only.
type Secrets struct {
	Secrets []Secret
	Configs []Config
}

// Up is a message from a node to the manager. An empty one is a heartbeat.
type Up struct {
	Description *swarm.NodeDescription `json:",omitempty"` // first message, and when it changed
	Statuses    []TaskReport           `json:",omitempty"`
	// Seq numbers the messages with statuses in a session, from 1; the node keeps them until Down.Acked names it.
	Seq uint64 `json:",omitempty"`
	// Sent is the node's clock at sending. The manager takes the age of a status from it, so that skewed clocks do no harm.
	Sent time.Time `json:",omitzero"`
	// Applied is the index of the newest network state that the node's kernel and DNS hold; 0: unchanged.
	Applied uint64 `json:",omitempty"`
	// Deltas, in the first message, says that the node takes changes of the network state.
	Deltas bool `json:",omitempty"`
	// Keys is all that the node has made for encrypted networks; nil: unchanged.
	Keys *OwnKeys `json:",omitempty"`
	// Leaving says that the daemon stops in good order and its containers run on.
	Leaving bool `json:",omitempty"`
}

// OwnKeys is the public keys that a node has made for encrypted networks, in full, by network and generation.
type OwnKeys struct{ List []OwnKey }

// TaskReport is a task's state as its node sees it.
type TaskReport struct {
	TaskID string
	Status swarm.TaskStatus
}
