package reconcile

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/fxamacker/cbor/v2"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/schedule"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// world plays the rest of the cluster: a store, the commit of plans, schedule, and agents that take one step at a time.
type world struct {
	tick time.Duration // that passes between two passes; scripts stand still

	now     time.Time
	svc     *cluster.Service
	specs   map[string]*cluster.Spec
	tasks   map[string]*cluster.Task
	nodes   []*cluster.Node
	index   uint64
	ids     int
	history int
	silent  bool            // no node says what it has applied
	broken  map[string]bool // images whose tasks fail as soon as they run
	works   map[string]bool // task ID: its work is done at the next step
	fell    map[string]bool // task ID: its node was out of reach once since it was made
	log     []string
	onRun   func(*cluster.Task)       // a task has begun to run
	check   func(in Input, plan Plan) // after each pass, before the commit
	err     error                     // the first rule that a pass broke
	seen    map[any]twin              // every object that was stored, by its pointer
}

// twin is an object as it was when a pass first saw it: its bytes, and what they decode to.
type twin struct {
	bytes []byte
	copy  any
}

func newWorld(nodes int) *world {
	w := &world{now: epoch, specs: map[string]*cluster.Spec{}, tasks: map[string]*cluster.Task{}, history: 5, broken: map[string]bool{}, works: map[string]bool{}, fell: map[string]bool{}, seen: map[any]twin{}}
	for i := 1; i <= nodes; i++ {
		w.addNode(fmt.Sprintf("n%d", i))
	}
	return w
}

func (w *world) addNode(id string) {
	n := &cluster.Node{}
	n.ID = id
	n.Spec.Availability = swarm.NodeAvailabilityActive
	n.Spec.Labels = map[string]string{}
	n.Status.State = swarm.NodeStateReady
	n.Description.Hostname = id
	n.Description.Resources.NanoCPUs = 4e9
	w.nodes = append(w.nodes, n)
	slices.SortFunc(w.nodes, func(a, b *cluster.Node) int { return cmp.Compare(a.ID, b.ID) })
}

func (w *world) node(id string) *cluster.Node {
	for _, n := range w.nodes {
		if n.ID == id {
			return n
		}
	}
	return nil
}

// changeNode replaces a node by a changed copy, as a store does.
func (w *world) changeNode(id string, change func(*cluster.Node)) {
	for i, n := range w.nodes {
		if n.ID == id {
			c := *n
			c.Spec.Labels = maps.Clone(n.Spec.Labels)
			change(&c)
			w.nodes[i] = &c
		}
	}
}

// update does what a writer of services must do (doc.go).
func (w *world) update(change func(*swarm.ServiceSpec)) {
	if w.svc == nil {
		w.svc = &cluster.Service{}
		w.svc.ID = "svc"
		w.svc.Spec.Name = "web"
		w.svc.Spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{}
		change(&w.svc.Spec)
		w.svc.SpecID = w.intern(w.svc.Spec.TaskTemplate, w.svc.Spec.EndpointSpec)
		return
	}
	svc := *w.svc
	old := svc.Spec
	svc.PreviousSpec, svc.PreviousSpecID = &old, svc.SpecID
	container := *old.TaskTemplate.ContainerSpec
	svc.Spec.TaskTemplate.ContainerSpec = &container
	change(&svc.Spec)
	if force := &svc.Spec.TaskTemplate.ForceUpdate; *force > old.TaskTemplate.ForceUpdate {
		for _, had := range w.specs { // controlplane counts up from all that tasks have
			*force = max(*force, had.Task.ForceUpdate+1)
		}
	}
	svc.SpecID = w.intern(svc.Spec.TaskTemplate, svc.Spec.EndpointSpec)
	svc.UpdateStatus = nil
	if svc.JobStatus != nil {
		next := *svc.JobStatus
		next.JobIteration.Index++
		svc.JobStatus = &next
	}
	w.svc = &svc
}

func (w *world) rollback() {
	if w.svc == nil || w.svc.PreviousSpec == nil {
		return
	}
	svc := *w.svc
	old := svc.Spec
	svc.Spec, svc.PreviousSpec = *svc.PreviousSpec, &old
	svc.SpecID, svc.PreviousSpecID = svc.PreviousSpecID, svc.SpecID
	now := w.now
	svc.UpdateStatus = &swarm.UpdateStatus{State: swarm.UpdateStateRollbackStarted, StartedAt: &now, Message: "manually requested rollback"}
	w.svc = &svc
}

// intern names a spec by its image, its force count and its placement, which is all that tests vary.
func (w *world) intern(t swarm.TaskSpec, e *swarm.EndpointSpec) string {
	s := &cluster.Spec{Task: t}
	if e != nil {
		s.HostPorts = e.Ports
	}
	id := fmt.Sprintf("%s.%d", t.ContainerSpec.Image, t.ForceUpdate)
	if t.Placement != nil {
		id += fmt.Sprint(t.Placement.Constraints, t.Placement.MaxReplicas)
	}
	if t.RestartPolicy != nil {
		id += string(t.RestartPolicy.Condition)
	}
	s.ID = id
	w.specs[id] = s
	return id
}

// input is what a pass reads now.
func (w *world) input() Input {
	ids := w.ids
	in := Input{
		Service: w.svc, Specs: func(id string) *cluster.Spec { return w.specs[id] }, Nodes: w.nodes, History: w.history,
		Applied: w.index, Index: w.index + 1, Now: w.now,
		NewID: func() string { ids++; return fmt.Sprintf("t%04d", ids) },
	}
	if w.silent {
		in.Applied = 0
	}
	for _, id := range slices.Sorted(maps.Keys(w.tasks)) {
		in.Tasks = append(in.Tasks, w.tasks[id])
	}
	return in
}

// pass plans, commits and places. A plan is made twice, the second time by a "new leader" that knows the stored bytes
// alone; both must be equal. That all input was left untouched, untouched says.
func (w *world) pass() Plan {
	in := w.input()
	second := w.decode(w.input()) // before the first could change anything
	plan, again := Service(in), Service(second)
	if !bytes.Equal(encode(plan), encode(again)) { // Diff is slow, and tells none from empty where it matters not
		if d := gocmp.Diff(plan, again, cmpopts.EquateComparable(netip.Prefix{}), cmpopts.EquateEmpty()); d != "" {
			w.fail("a second leader plans otherwise: %s", d)
		}
	}
	if w.check != nil {
		w.check(in, plan)
	}
	if plan.Empty() && !w.anyUnplaced() {
		return plan
	}
	w.index++
	w.ids += len(plan.Create) + 100 // IDs that a plan drew and dropped are not drawn again
	w.ids -= w.ids % 100
	for _, t := range append(plan.Create, plan.Update...) {
		if plan.Create != nil && slices.Contains(plan.Create, t) {
			t.CreatedAt = w.now
		}
		w.tasks[t.ID] = t
	}
	for _, id := range plan.Delete {
		delete(w.tasks, id)
	}
	if plan.Service != nil {
		w.svc = plan.Service
	}
	w.place()
	return plan
}

func (w *world) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("at %s: "+format, append([]any{w.now.Sub(epoch)}, args...)...)
	}
}

// decode is the input as it comes out of its encoding.
func (w *world) decode(in Input) Input {
	out := in
	if in.Service != nil {
		out.Service = stored(w, in.Service)
	}
	out.Tasks, out.Nodes = nil, nil
	for _, t := range in.Tasks {
		out.Tasks = append(out.Tasks, stored(w, t))
	}
	for _, n := range in.Nodes {
		out.Nodes = append(out.Nodes, stored(w, n))
	}
	slices.Reverse(out.Tasks) // any order
	return out
}

// stored is an object sent through its encoding and back, once.
func stored[T any](w *world, o *T) *T {
	if have, ok := w.seen[o]; ok {
		return have.copy.(*T)
	}
	b, err := cluster.Marshal(o)
	out := new(T)
	if err == nil {
		err = cluster.Unmarshal(b, out)
	}
	if err != nil {
		panic(err)
	}
	w.seen[o] = twin{encode(o), out}
	return out
}

// untouched holds that no pass has changed an object of its input.
func (w *world) untouched() {
	for o, was := range w.seen {
		if !bytes.Equal(encode(o), was.bytes) {
			w.fail("a pass changed its input: %v", o)
		}
	}
}

// sorted encodes equal maps to equal bytes, which the cluster's own encoding does not promise.
var sorted = func() cbor.EncMode {
	mode, err := cbor.EncOptions{Sort: cbor.SortBytewiseLexical, TextMarshaler: cbor.TextMarshalerTextString, Time: cbor.TimeRFC3339Nano}.EncMode()
	if err != nil {
		panic(err)
	}
	return mode
}()

func encode(o any) []byte {
	b, err := sorted.Marshal(o)
	if err != nil {
		panic(err)
	}
	return b
}

func unplaced(t *cluster.Task) bool {
	return cluster.Rank(t.Status.State) < cluster.Rank(swarm.TaskStateAssigned) && cluster.Rank(t.DesiredState) < cluster.Rank(swarm.TaskStateShutdown)
}

func (w *world) anyUnplaced() bool {
	for _, t := range w.tasks {
		if unplaced(t) {
			return true
		}
	}
	return false
}

func (w *world) sorted() []*cluster.Task {
	var out []*cluster.Task
	for _, id := range slices.Sorted(maps.Keys(w.tasks)) {
		out = append(out, w.tasks[id])
	}
	return out
}

// place gives every waiting task an address and, if there is one, a node.
func (w *world) place() {
	groups := map[string][]*cluster.Task{}
	for _, t := range w.sorted() {
		if unplaced(t) {
			groups[t.SpecID] = append(groups[t.SpecID], t)
		}
	}
	spec := func(id string) *cluster.Spec { return w.specs[id] }
	nodes := schedule.NewNodes(w.nodes, slices.Values(w.sorted()), spec, w.now)
	for _, id := range slices.Sorted(maps.Keys(groups)) {
		placed, refused := schedule.Place(schedule.Group{Spec: spec(id), ServiceID: "svc", Tasks: groups[id]}, nodes)
		for _, b := range placed {
			w.change(b.Task.ID, func(t *cluster.Task) {
				t.NodeID = b.NodeID
				t.Attachments = []cluster.Attachment{{NetworkID: "net", Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.1.9/24")}}}
				t.Status = swarm.TaskStatus{Timestamp: w.now, State: swarm.TaskStateAssigned}
			})
		}
		for _, r := range refused {
			w.change(r.Task.ID, func(t *cluster.Task) {
				t.Status = swarm.TaskStatus{Timestamp: w.now, State: swarm.TaskStatePending, Err: r.Reason}
			})
		}
	}
}

// rebalance marks the tasks that are to move, as the manager does between plans, and says when to ask again.
func (w *world) rebalance() (moves bool, wake time.Time) {
	tasks, most, wake := Movable(w.input())
	if len(tasks) == 0 {
		return false, wake
	}
	spec := func(id string) *cluster.Spec { return w.specs[id] }
	nodes := schedule.NewNodes(w.nodes, slices.Values(w.sorted()), spec, w.now)
	chosen := schedule.Rebalance(schedule.Group{Spec: spec(w.svc.SpecID), ServiceID: "svc", Tasks: tasks}, most, nodes)
	for _, t := range chosen {
		w.change(t.ID, func(t *cluster.Task) { t.Moving = true })
	}
	return len(chosen) > 0, time.Time{}
}

func (w *world) change(id string, change func(*cluster.Task)) {
	t := *w.tasks[id]
	change(&t)
	w.tasks[id] = &t
}

// reachable says whether a node runs and reports.
func (w *world) reachable(id string) bool {
	n := w.node(id)
	return n != nil && n.Status.State == swarm.NodeStateReady
}

// step lets the agent of one task do the next thing; false: it has nothing to do.
func (w *world) step(t *cluster.Task) bool {
	state, desired := cluster.Rank(t.Status.State), cluster.Rank(t.DesiredState)
	next := swarm.TaskState("")
	switch {
	case !w.reachable(t.NodeID) || cluster.Terminal(t.Status.State) || state < cluster.Rank(swarm.TaskStateAssigned):
	case desired >= cluster.Rank(swarm.TaskStateShutdown):
		next = swarm.TaskStateShutdown
	case w.node(t.NodeID).Spec.Labels["bad"] == "yes" && state < cluster.Rank(swarm.TaskStateRunning):
		next = swarm.TaskStateRejected
	case state < cluster.Rank(swarm.TaskStateReady):
		next = swarm.TaskStateReady
	case state == cluster.Rank(swarm.TaskStateReady) && desired > state:
		next = swarm.TaskStateRunning
	case state == cluster.Rank(swarm.TaskStateRunning) && w.broken[w.specs[t.SpecID].Task.ContainerSpec.Image]:
		next = swarm.TaskStateFailed
	case state == cluster.Rank(swarm.TaskStateRunning) && w.works[t.ID]:
		next = swarm.TaskStateComplete
	}
	if next == "" {
		return false
	}
	w.report(t.ID, next)
	return true
}

func (w *world) report(id string, state swarm.TaskState) {
	w.change(id, func(t *cluster.Task) {
		t.Status = swarm.TaskStatus{Timestamp: w.now, State: state}
		if state == swarm.TaskStateRunning {
			t.StartedAt = w.now
		}
	})
	if state == swarm.TaskStateRunning && w.onRun != nil {
		w.onRun(w.tasks[id])
	}
}

// stepAll lets every agent take a step; false: nothing happened.
func (w *world) stepAll() bool {
	moved := false
	for _, t := range w.sorted() {
		moved = w.step(t) || moved
	}
	return moved
}

// run lets passes and agents take turns for a while of the world's time, and logs each plan.
func (w *world) run(d time.Duration) {
	end := w.now.Add(d)
	for range 10_000 {
		plan := w.pass()
		w.note(plan)
		moved := w.stepAll()
		if moved || !plan.Empty() {
			w.now = w.now.Add(w.tick)
			continue
		}
		moves, wake := w.rebalance()
		if moves {
			continue
		}
		if wake.IsZero() || !plan.Wake.IsZero() && plan.Wake.Before(wake) {
			wake = plan.Wake
		}
		if wake.IsZero() || wake.After(end) {
			if w.now.Before(end) { // ticks may have gone beyond it
				w.now = end
			}
			return
		}
		if !wake.After(w.now) {
			w.fail("an empty plan asks to be made again at once")
			return
		}
		w.now = wake
	}
	w.fail("no rest after 10,000 passes")
}
