package cluster

import (
	"time"

	"github.com/moby/moby/api/types/swarm"
)

// Running is a task's container as its node finds it, after a restart of the daemon too.
type Running struct {
	TaskID      string
	ContainerID string
	State       swarm.TaskState // READY (created), RUNNING, COMPLETE or FAILED
	Exit        Exit            // when it has ended
}

// Exit is how a container ended, or why it must.
type Exit struct {
	Code       int
	FinishedAt time.Time
	OOM        bool
	Unhealthy  bool   // it still runs, but its health check has given up
	Err        string // what the runtime said; empty for an ordinary end
}
