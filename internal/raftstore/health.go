package raftstore

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// health is which servers do not answer this node's heartbeats while it leads.
type health struct {
	events chan raft.Observation
	done   chan struct{}

	mu      sync.Mutex
	silence map[string]time.Time // last contact of each silent server
	leader  chan struct{}        // closed when another one leads, or nobody
}

// healthBuffer is how many of Raft's observations may wait; Raft drops the rest, and repeats failures.
const healthBuffer = 256

func newHealth() *health {
	return &health{
		events:  make(chan raft.Observation, healthBuffer),
		done:    make(chan struct{}),
		silence: make(map[string]time.Time),
		leader:  make(chan struct{}),
	}
}

func (h *health) observe(r *raft.Raft) *raft.Observer {
	observer := raft.NewObserver(h.events, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.FailedHeartbeatObservation, raft.ResumedHeartbeatObservation, raft.LeaderObservation:
			return true
		}
		return false
	})
	r.RegisterObserver(observer)
	go h.run()
	return observer
}

func (h *health) run() {
	for {
		select {
		case <-h.done:
			return
		case o := <-h.events:
			h.note(o.Data)
		}
	}
}

func (h *health) note(event any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch e := event.(type) {
	case raft.FailedHeartbeatObservation:
		h.silence[string(e.PeerID)] = e.LastContact
	case raft.ResumedHeartbeatObservation:
		delete(h.silence, string(e.PeerID))
	case raft.LeaderObservation: // another reign, another view
		clear(h.silence)
		close(h.leader)
		h.leader = make(chan struct{})
	}
}

// LeaderChanged is closed when [Node.Leader] returns something else than at the call, or may.
func (n *Node) LeaderChanged() <-chan struct{} {
	n.health.mu.Lock()
	defer n.health.mu.Unlock()
	return n.health.leader
}

func (h *health) silent(id string) (bool, time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	since, silent := h.silence[id]
	return silent, since
}

func (h *health) stop() { close(h.done) }
