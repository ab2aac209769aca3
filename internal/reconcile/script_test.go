package reconcile

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// TestScripts runs testdata/*.txt. Commands: nodes, service (create or update), rollback, rm, node, fail, done, broken,
// silent, run (passes and agents take turns; prints what plans did), ps.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		w := newWorld(0)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			w.log = nil
			out := w.command(t, d)
			w.untouched()
			if w.err != nil {
				d.Fatalf(t, "%v", w.err)
			}
			return out
		})
	})
}

func (w *world) command(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "nodes":
		n, _ := strconv.Atoi(d.CmdArgs[0].Key)
		*w = *newWorld(n)
	case "service":
		w.update(func(s *swarm.ServiceSpec) { configure(t, d, s) })
	case "history":
		w.history, _ = strconv.Atoi(d.CmdArgs[0].Key)
	case "rollback":
		w.rollback()
	case "rm":
		w.svc = nil
	case "node":
		w.nodeCommand(d.CmdArgs[0].Key, d.CmdArgs[1].Key, d.CmdArgs[1].Vals)
	case "broken":
		w.broken[d.CmdArgs[0].Key] = true
	case "silent":
		w.silent = true
	case "fail", "done":
		for _, a := range d.CmdArgs {
			w.end(a.Key, d.Cmd == "fail")
		}
	case "run":
		length, err := time.ParseDuration(d.CmdArgs[0].Key)
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		w.run(length)
		return strings.Join(w.log, "\n")
	case "ps":
		return w.ps()
	default:
		d.Fatalf(t, "unknown command %s", d.Cmd)
	}
	return ""
}

func (w *world) nodeCommand(id, what string, vals []string) {
	switch what {
	case "new":
		w.addNode(id)
	case "rm":
		w.nodes = slices.DeleteFunc(slices.Clone(w.nodes), func(n *cluster.Node) bool { return n.ID == id })
	case "down", "ready", "unknown":
		w.changeNode(id, func(n *cluster.Node) { n.Status.State = swarm.NodeState(what) })
	case "label":
		w.changeNode(id, func(n *cluster.Node) { n.Spec.Labels[vals[0]] = vals[1] })
	default:
		w.changeNode(id, func(n *cluster.Node) { n.Spec.Availability = swarm.NodeAvailability(what) })
	}
}

// end lets the running task of a slot ("web.1") end by itself.
func (w *world) end(name string, failed bool) {
	for _, t := range w.sorted() {
		if place(t) == name && t.Status.State == swarm.TaskStateRunning && w.reachable(t.NodeID) {
			state := swarm.TaskStateComplete
			if failed {
				state = swarm.TaskStateFailed
			}
			w.report(t.ID, state)
			return
		}
	}
	w.fail("%s does not run", name)
}

func (w *world) ps() string {
	var out []string
	tasks := w.sorted()
	slices.SortStableFunc(tasks, func(a, b *cluster.Task) int {
		if a.Slot != b.Slot {
			return a.Slot - b.Slot
		}
		return b.CreatedAt.Compare(a.CreatedAt)
	})
	for _, t := range tasks {
		out = append(out, fmt.Sprintf("%s %s %s desired=%s %s %s", place(t), t.SpecID, t.NodeID, t.DesiredState, t.Status.State, t.Status.Err))
	}
	if w.svc != nil && w.svc.UpdateStatus != nil {
		out = append(out, string(w.svc.UpdateStatus.State)+": "+w.svc.UpdateStatus.Message)
	}
	for i := range out {
		out[i] = strings.TrimSpace(out[i])
	}
	return strings.Join(out, "\n")
}

// configure applies "key=value" arguments to a spec.
func configure(t *testing.T, d *datadriven.TestData, s *swarm.ServiceSpec) {
	update := func() *swarm.UpdateConfig {
		c := swarm.UpdateConfig{Parallelism: 1}
		if s.UpdateConfig != nil {
			c = *s.UpdateConfig
		}
		s.UpdateConfig = &c
		return &c
	}
	restart := func() *swarm.RestartPolicy {
		p := swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionAny}
		if s.TaskTemplate.RestartPolicy != nil {
			p = *s.TaskTemplate.RestartPolicy
		}
		s.TaskTemplate.RestartPolicy = &p
		return &p
	}
	for _, a := range d.CmdArgs {
		v := ""
		if len(a.Vals) > 0 {
			v = a.Vals[0]
		}
		number, _ := strconv.ParseUint(v, 10, 64)
		length, _ := time.ParseDuration(v)
		switch a.Key {
		case "image":
			s.TaskTemplate.ContainerSpec.Image = v
		case "force":
			s.TaskTemplate.ForceUpdate++
		case "replicas":
			s.Mode.Replicated = &swarm.ReplicatedService{Replicas: &number}
		case "global":
			s.Mode.Global = &swarm.GlobalService{}
		case "job":
			concurrent, _ := strconv.ParseUint(a.Vals[1], 10, 64)
			s.Mode.ReplicatedJob = &swarm.ReplicatedJob{TotalCompletions: &number, MaxConcurrent: &concurrent}
		case "globaljob":
			s.Mode.GlobalJob = &swarm.GlobalJob{}
		case "parallelism":
			update().Parallelism = number
		case "delay":
			update().Delay = length
		case "monitor":
			update().Monitor = length
			s.RollbackConfig = &swarm.UpdateConfig{Parallelism: 1, Monitor: length}
		case "action":
			update().FailureAction = swarm.FailureAction(v)
		case "ratio":
			ratio, _ := strconv.ParseFloat(v, 32)
			update().MaxFailureRatio = float32(ratio)
		case "order":
			update().Order = swarm.UpdateOrder(v)
		case "condition":
			restart().Condition = swarm.RestartPolicyCondition(v)
		case "attempts":
			restart().MaxAttempts = &number
		case "restart-delay":
			restart().Delay = &length
		case "drain":
			s.Labels = map[string]string{DrainLabel: v}
		case "rebalance":
			s.Labels = map[string]string{DrainLabel: "0s", RebalanceLabel: "true"}
		case "sticky":
			s.Labels = map[string]string{DrainLabel: "0s", StickyLabel: v}
		case "constraint":
			s.TaskTemplate.Placement = &swarm.Placement{Constraints: []string{v}}
		case "max-replicas":
			s.TaskTemplate.Placement = &swarm.Placement{MaxReplicas: number}
		case "hostport":
			s.EndpointSpec = &swarm.EndpointSpec{Ports: []swarm.PortConfig{{Protocol: "tcp", TargetPort: 80, PublishedPort: uint32(number), PublishMode: swarm.PortConfigPublishModeHost}}}
		default:
			d.Fatalf(t, "unknown argument %s", a.Key)
		}
	}
}
