package controlplane

import (
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
	var tallyOf func(string) tally
	if status {
		v, tallyOf = c.counts.now(c.Store)
	}
	list := []swarm.Service{}
	for s := range store.Services.All(v) {
		if !f.Prefix("id", s.ID) || !f.Prefix("name", s.Spec.Name) || !f.Labels("label", s.Spec.Labels) ||
			!f.Exact("mode", modeName(&s.Spec.Mode)) || !f.Exact("runtime", string(s.Spec.TaskTemplate.Runtime)) {
			continue
		}
		out := serviceOut(s)
		if status {
			out.ServiceStatus = taskCounts(v, s, tallyOf)
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

// taskCounts is how many tasks a service has and should have. For the global modes the tasks themselves say how many are
// wanted. A task on a node that is down does not count as running.
func taskCounts(r store.Reader, s *cluster.Service, tallyOf func(string) tally) *swarm.ServiceStatus {
	var n swarm.ServiceStatus
	var t tally
	if s.JobStatus == nil {
		t = tallyOf(s.ID)
	} else {
		t, n.CompletedTasks = jobCounts(r, s)
	}
	n.RunningTasks = uint64(max(t.running, 0))
	switch m := s.Spec.Mode; {
	case m.Replicated != nil && m.Replicated.Replicas != nil:
		n.DesiredTasks = *m.Replicated.Replicas
	case m.ReplicatedJob != nil && m.ReplicatedJob.MaxConcurrent != nil:
		n.DesiredTasks = *m.ReplicatedJob.MaxConcurrent
	default:
		n.DesiredTasks = uint64(max(t.wanted, 0))
	}
	return &n
}

// jobCounts counts the tasks of a job's present iteration.
func jobCounts(r store.Reader, s *cluster.Service) (t tally, complete uint64) {
	for task := range store.Tasks.By(r, store.TaskService, s.ID) {
		if task.JobIteration != s.JobStatus.JobIteration.Index {
			continue
		}
		if task.Status.State == swarm.TaskStateComplete {
			complete++
		}
		if n := store.Nodes.Get(r, task.NodeID); n != nil && n.Status.State == swarm.NodeStateDown && task.Status.State == swarm.TaskStateRunning {
			if wanted(task) {
				t.wanted++
			}
			continue
		}
		t.add(task, 1)
	}
	return t, complete
}
