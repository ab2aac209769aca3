package agent

import (
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// action is the next thing to do about a task.
type action int

const (
	rest    action = iota // nothing, until something changes
	prepare               // pull, attach, create
	start
	watch  // wait for its end
	stop   // it must not run
	remove // its container must go
	forget // nothing is left of it
	lost   // it ran, and its container is gone
)

// situation is all that the next action hangs on.
type situation struct {
	state     swarm.TaskState // as this node knows it
	desired   swarm.TaskState
	gone      bool // the manager has dropped the task
	confirmed bool // a manager has named it since this agent started
	container bool // there is, or may be, a container
	stopped   bool // and it is known not to run
	failed    bool // it has failed, which is reported when its container has stopped
}

// next says what to do about a task. It is pure: the whole of a task's life on its node is in it.
func next(s situation) action {
	ended := cluster.Terminal(s.state)
	if s.gone || s.desired == swarm.TaskStateRemove {
		switch {
		case s.container && !s.stopped:
			return stop
		case s.container:
			return remove
		case s.gone:
			return forget
		case !ended:
			return stop // which has nothing to do, and ends it
		}
		return rest
	}
	if ended {
		if s.container && !s.stopped {
			return stop // ended by the manager's word, or unhealthy
		}
		return rest
	}
	if s.failed || cluster.Rank(s.desired) > cluster.Rank(swarm.TaskStateComplete) {
		return stop
	}
	switch s.state {
	case swarm.TaskStateRunning:
		if !s.container {
			return lost
		}
		return watch
	case swarm.TaskStateReady, swarm.TaskStateStarting:
		if !s.confirmed || (s.container && s.desired == swarm.TaskStateReady) {
			return rest
		}
		if !s.container {
			return prepare
		}
		return start
	}
	if !s.confirmed {
		return rest
	}
	return prepare
}
