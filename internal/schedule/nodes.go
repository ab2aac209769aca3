package schedule

import (
	"iter"
	"time"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

const (
	// A service that failed failureLimit times on a node within failureWindow gets other nodes first.
	failureLimit  = 5
	failureWindow = 5 * time.Minute
	// A node that went DOWN more than once within fallWindow waits: fallWait, doubled with each further fall.
	fallWindow = 10 * time.Minute
	fallWait   = 5 * time.Second
	maxFalls   = 7
)

// Nodes is what the nodes have left. One goroutine at a time may use it.
type Nodes struct {
	// Now decides which failures and falls are recent. Set it when the Nodes are kept from an earlier pass.
	Now time.Time

	nodes    []*cluster.Node
	index    map[string]int32
	left     []resources
	total    []uint32 // tasks per node
	services map[string]*serviceLoad
	ports    map[portKey]portUser
	generic  map[int32]*generics
	static   map[string][]int32 // what the static filters allow, by what they ask for
	staticAt time.Time          // the Now that static is of
}

// resources that a node has left; below 0 when a running task was promised more than there is now.
type resources struct{ cpu, memory int64 }

// serviceLoad is where a service's tasks are and where they failed lately.
type serviceLoad struct {
	tasks    map[int32]uint32
	failures map[int32][]time.Time
}

type portKey struct {
	node     int32
	port     uint32
	protocol network.IPProtocol
}

// portUser is who holds a host port. A task that is to follow it in its slot may have the port already.
type portUser struct {
	service string
	slot    int
	count   int // a stopping task and the one that follows it
}

// NewNodes takes stock of nodes (in the order of their IDs) and tasks. now is the time of the pass.
func NewNodes(nodes []*cluster.Node, tasks iter.Seq[*cluster.Task], specs func(id string) *cluster.Spec, now time.Time) *Nodes {
	n := &Nodes{
		Now: now, nodes: nodes,
		index:    make(map[string]int32, len(nodes)),
		left:     make([]resources, len(nodes)),
		total:    make([]uint32, len(nodes)),
		services: map[string]*serviceLoad{},
		ports:    map[portKey]portUser{},
		generic:  map[int32]*generics{},
		static:   map[string][]int32{},
	}
	for i, node := range nodes {
		n.index[node.ID] = int32(i)
		n.left[i] = resources{node.Description.Resources.NanoCPUs, node.Description.Resources.MemoryBytes}
	}
	for t := range tasks {
		n.Add(t, specs(t.SpecID))
	}
	return n
}

// Add books a stored task: what it holds of its node, and whether it failed there. A task without a node holds nothing.
// spec may be nil when it is unknown.
func (n *Nodes) Add(t *cluster.Task, spec *cluster.Spec) { n.book(t, spec, 1) }

// Remove undoes Add of an equal task.
func (n *Nodes) Remove(t *cluster.Task, spec *cluster.Spec) { n.book(t, spec, -1) }

func (n *Nodes) book(t *cluster.Task, spec *cluster.Spec, by int) {
	i, ok := n.index[t.NodeID]
	if !ok || !assigned(t) {
		return
	}
	if cluster.Terminal(t.Status.State) {
		n.bookFailure(t, i, by)
		return
	}
	n.bookPorts(t, spec, i, by)
	if len(t.Generic) > 0 {
		n.generics(i).book(t.Generic, by)
	}
	if leaving(t) {
		return
	}
	n.hold(t, spec, i, by)
}

// assigned says whether a node was told of the task. In global modes a task names its node before it is placed there.
func assigned(t *cluster.Task) bool {
	return cluster.Rank(t.Status.State) >= cluster.Rank(swarm.TaskStateAssigned)
}

// leaving says whether a task was asked to stop: its successor may have its share of the node, since that starts only
// when it has ended. Generic resources stay its own until then: no device serves two tasks.
func leaving(t *cluster.Task) bool {
	return !t.LeftAt.IsZero() || cluster.Rank(t.DesiredState) >= cluster.Rank(swarm.TaskStateShutdown)
}

// hold takes (by 1) or gives back (by -1) a task's share of node i, except host ports and generic resources.
func (n *Nodes) hold(t *cluster.Task, spec *cluster.Spec, i int32, by int) {
	n.total[i] += uint32(by)
	if t.ServiceID != "" {
		n.service(t.ServiceID).tasks[i] += uint32(by)
	}
	if want := reservations(spec); want != nil {
		n.left[i].cpu -= int64(by) * want.NanoCPUs
		n.left[i].memory -= int64(by) * want.MemoryBytes
	}
}

func (n *Nodes) service(id string) *serviceLoad {
	s := n.services[id]
	if s == nil {
		s = &serviceLoad{tasks: map[int32]uint32{}, failures: map[int32][]time.Time{}}
		n.services[id] = s
	}
	return s
}

func reservations(spec *cluster.Spec) *swarm.Resources {
	if spec == nil || spec.Task.Resources == nil {
		return nil
	}
	return spec.Task.Resources.Reservations
}

func (n *Nodes) bookFailure(t *cluster.Task, i int32, by int) {
	if t.ServiceID == "" || !t.LeftAt.IsZero() || t.Status.State != swarm.TaskStateFailed && t.Status.State != swarm.TaskStateRejected {
		return
	}
	f := n.service(t.ServiceID).failures
	if by > 0 {
		f[i] = append(f[i], t.Status.Timestamp)
		return
	}
	for k, at := range f[i] {
		if at.Equal(t.Status.Timestamp) {
			f[i] = append(f[i][:k:k], f[i][k+1:]...)
			return
		}
	}
}

// failing says whether the service has failed often on node i lately.
func (n *Nodes) failing(s *serviceLoad, i int32) bool {
	recent := 0
	for _, at := range s.failures[i] {
		if n.Now.Sub(at) < failureWindow {
			recent++
		}
	}
	return recent >= failureLimit
}

func hostPorts(spec *cluster.Spec) []swarm.PortConfig {
	if spec == nil {
		return nil
	}
	return spec.HostPorts
}

func (n *Nodes) bookPorts(t *cluster.Task, spec *cluster.Spec, i int32, by int) {
	for _, port := range hostPorts(spec) {
		if port.PublishedPort == 0 {
			continue // the node chooses a free one
		}
		key := portKey{i, port.PublishedPort, port.Protocol}
		user := n.ports[key]
		if user.count == 0 {
			user = portUser{service: t.ServiceID, slot: t.Slot}
		}
		if user.count += by; user.count <= 0 {
			delete(n.ports, key)
			continue
		}
		n.ports[key] = user
	}
}

// Rested says from when on a node that fell lately may get new tasks; the zero time when it may now.
func Rested(n *cluster.Node, now time.Time) time.Time {
	falls, last := 0, time.Time{}
	for _, at := range n.Falls {
		if now.Sub(at) < fallWindow {
			falls++
		}
		if at.After(last) {
			last = at
		}
	}
	if falls < 2 {
		return time.Time{}
	}
	until := last.Add(fallWait << (min(falls, maxFalls) - 2))
	if !until.After(now) {
		return time.Time{}
	}
	return until
}
