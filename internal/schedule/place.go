package schedule

import (
	"iter"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// Group is a set of tasks of one service and one spec that are placed together.
type Group struct {
	Spec      *cluster.Spec
	ServiceID string
	// Binpack fills loaded nodes first instead of spreading (service label [StrategyLabel] = "binpack").
	Binpack bool
	Tasks   []*cluster.Task
}

// StrategyLabel is the service label that chooses between "spread" (the default) and "binpack".
const StrategyLabel = "shoal.strategy"

// Binding puts one task on one node.
type Binding struct {
	Task    *cluster.Task
	NodeID  string
	Generic []swarm.GenericResource // what the node gives the task
}

// Refusal is a task that no node can take now, and why: the text for Status.Err, as Docker words it.
type Refusal struct {
	Task   *cluster.Task
	Reason string // "no suitable node (insufficient resources on 2 nodes; unsupported platform on 1 node)"
}

// Nodes is what the nodes have left.
type Nodes struct{}

// NewNodes takes stock of nodes (in the order of their IDs) and tasks. now is the time of the pass; it decides which
// failures count as recent.
func NewNodes(nodes []*cluster.Node, tasks iter.Seq[*cluster.Task], specs func(id string) *cluster.Spec, now time.Time) *Nodes {
	return &Nodes{}
}

// Add books a stored task; Remove gives back what it holds. spec may be nil when it is unknown.
func (n *Nodes) Add(t *cluster.Task, spec *cluster.Spec) {}

// Remove undoes Add of an equal task.
func (n *Nodes) Remove(t *cluster.Task, spec *cluster.Spec) {}

// Place binds the tasks of g and books them in nodes. Each task is in exactly one of the results.
func Place(g Group, nodes *Nodes) (placed []Binding, refused []Refusal) { return nil, nil }

// Fits says whether spec's placement constraints and platforms allow node, whatever its state and load.
func Fits(spec *cluster.Spec, node *cluster.Node) bool { return true }

// Matcher is Fits with the constraints of spec parsed once.
func Matcher(spec *cluster.Spec) func(*cluster.Node) bool {
	return func(*cluster.Node) bool { return true }
}

// Frees says whether the end of another task could help a task that was refused for that reason.
func Frees(reason string) bool { return false }
