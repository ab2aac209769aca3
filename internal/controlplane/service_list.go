package controlplane

import (
	"iter"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// Services lists services by filter (id, name and their beginnings; label, mode, runtime), with their task counts when
// status is asked for.
func (c *Control) Services(f Filters, status bool) ([]swarm.Service, error) {
	if err := f.Check("id", "name", "label", "mode", "runtime"); err != nil {
		return nil, err
	}
	v := c.Store.View()
	list := []swarm.Service{}
	down := map[string]bool{}
	for n := range store.Nodes.All(v) {
		down[n.ID] = n.Status.State == swarm.NodeStateDown
	}
	for s := range store.Services.All(v) {
		if !f.Prefix("id", s.ID) || !f.Prefix("name", s.Spec.Name) || !f.Labels("label", s.Spec.Labels) ||
			!f.Exact("mode", modeName(&s.Spec.Mode)) || !f.Exact("runtime", string(s.Spec.TaskTemplate.Runtime)) {
			continue
		}
		out := serviceOut(s)
		if status {
			out.ServiceStatus = taskCounts(s, store.Tasks.By(v, store.TaskService, s.ID), down)
		}
		list = append(list, out)
	}
	return list, nil
}

// Service is one service by ID, name or unique beginning of an ID; with every default written out when insertDefaults
// is set.
func (c *Control) Service(ref string, insertDefaults bool) (swarm.Service, error) {
	s, err := store.Services.Find(c.Store.View(), ref)
	if err != nil {
		return swarm.Service{}, err
	}
	out := serviceOut(s)
	if insertDefaults {
		out.Spec = withDefaults(out.Spec)
		if out.Endpoint.Spec.Mode == "" {
			out.Endpoint.Spec.Mode = swarm.ResolutionModeVIP
		}
	}
	return out, nil
}

// serviceOut is a service as the API shows it: Endpoint.Spec says what the endpoint was made from.
func serviceOut(s *cluster.Service) swarm.Service {
	out := s.Service
	if out.Spec.EndpointSpec != nil {
		out.Endpoint.Spec = *out.Spec.EndpointSpec
	}
	return out
}

// taskCounts counts a service's tasks. For the global modes the tasks themselves say how many are wanted. A task on a node that
// is down does not count as running: its last word was that it runs, and it has been replaced.
func taskCounts(s *cluster.Service, tasks iter.Seq[*cluster.Task], down map[string]bool) *swarm.ServiceStatus {
	var n swarm.ServiceStatus
	global := false
	switch m := s.Spec.Mode; {
	case m.Replicated != nil && m.Replicated.Replicas != nil:
		n.DesiredTasks = *m.Replicated.Replicas
	case m.ReplicatedJob != nil && m.ReplicatedJob.MaxConcurrent != nil:
		n.DesiredTasks = *m.ReplicatedJob.MaxConcurrent
	default:
		global = true
	}
	for t := range tasks {
		if s.JobStatus != nil {
			if t.JobIteration != s.JobStatus.JobIteration.Index {
				continue
			}
			if t.Status.State == swarm.TaskStateComplete {
				n.CompletedTasks++
			}
		}
		if t.Status.State == swarm.TaskStateRunning && !down[t.NodeID] {
			n.RunningTasks++
		}
		if !global {
			continue
		}
		switch t.DesiredState {
		case swarm.TaskStateRunning:
			n.DesiredTasks++
		case swarm.TaskStateComplete:
			if t.Status.State != swarm.TaskStateComplete {
				n.DesiredTasks++
			}
		}
	}
	return &n
}
