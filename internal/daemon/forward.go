package daemon

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// leaderless is how long a request under way waits for a leader that this manager does not hear of any more. It is longer than
// an election takes.
const leaderless = 3 * time.Second

// leaderNow is where requests for the leader go, if that is another manager; left is closed when it is no longer the leader.
func (m *managing) leaderNow(ctx context.Context) (addr string, left <-chan struct{}) {
	id := m.raft.Leader()
	addr, ok := m.raftAddr(id)
	if id == "" || id == m.id || !ok {
		return "", nil
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		m.whileLedBy(ctx, id)
	}()
	return addr, over
}

// whileLedBy returns when another manager leads, when nobody has been heard of for a while, or when ctx ends.
func (m *managing) whileLedBy(ctx context.Context, id string) {
	var silence <-chan time.Time
	for {
		changed := m.raft.LeaderChanged()
		switch m.raft.Leader() {
		case id:
			silence = nil // a heartbeat that was late
		case "":
			if silence == nil {
				t := time.NewTimer(leaderless)
				defer t.Stop()
				silence = t.C
			}
		default:
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-silence:
			return
		case <-changed:
		}
	}
}

func proxyFailed(w http.ResponseWriter, _ *http.Request, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusServiceUnavailable)
	fmt.Fprintf(w, "{\"message\":%q}\n", "The swarm does not have a leader that answers: "+err.Error())
}
