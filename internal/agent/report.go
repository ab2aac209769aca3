package agent

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// maxStatuses bounds one message; the rest goes with the next.
const maxStatuses = 512

// reports are the statuses that the store does not have yet, the newest of each task. One message of them is under way
// at a time, so a node's news are gathered while it waits.
type reports struct {
	ready chan struct{} // holds one token: there may be something to send

	mu     sync.Mutex
	urgent bool                        // something that is queued must not wait
	due    time.Time                   // when the rest has waited long enough; zero: there is none
	queued map[string]swarm.TaskStatus // by task ID
	flying map[string]swarm.TaskStatus // sent, not acknowledged
	seq    uint64                      // of the message under way
}

func newReports() *reports {
	return &reports{ready: make(chan struct{}, 1), queued: map[string]swarm.TaskStatus{}}
}

// stepTime is how long a task's steps towards running wait to be reported: most are over by then, and need not be.
const stepTime = 50 * time.Millisecond

func (r *reports) put(taskID string, s swarm.TaskStatus) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queued[taskID] = s
	switch {
	case cluster.Rank(s.State) >= cluster.Rank(swarm.TaskStateRunning):
		r.urgent = true
		r.token()
	case r.due.IsZero():
		r.due = time.Now().Add(stepTime)
		time.AfterFunc(stepTime, r.token)
	}
}

// forget drops what there is to say of a task.
func (r *reports) forget(taskID string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.queued, taskID)
}

// restart begins a session: what was under way and not acknowledged is to be sent again.
func (r *reports) restart() {
	r.mu.Lock()
	for id, s := range r.flying {
		if _, newer := r.queued[id]; !newer {
			r.queued[id] = s
		}
	}
	r.flying, r.seq, r.urgent = nil, 0, true
	r.mu.Unlock()
	r.token()
}

// take returns the next message's statuses; none while one is under way, or while what there is may wait.
func (r *reports) take() (seq uint64, list []cluster.TaskReport) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.flying) > 0 || len(r.queued) == 0 || !r.urgent && time.Now().Before(r.due) {
		return 0, nil
	}
	r.flying = map[string]swarm.TaskStatus{}
	for _, id := range slices.Sorted(maps.Keys(r.queued)) {
		if len(list) == maxStatuses {
			break
		}
		s := r.queued[id]
		list = append(list, cluster.TaskReport{TaskID: id, Status: s})
		r.flying[id] = s
		delete(r.queued, id)
	}
	r.urgent, r.due = len(r.queued) > 0, time.Time{} // what is left follows with the next
	r.seq++
	return r.seq, list
}

// acked says that the message is in the store.
func (r *reports) acked(seq uint64) {
	r.mu.Lock()
	if seq >= r.seq {
		r.flying = nil
	}
	r.mu.Unlock()
	r.token()
}

func (r *reports) token() {
	select {
	case r.ready <- struct{}{}:
	default:
	}
}
