package raftstore

import (
	"cmp"
	"errors"
	"slices"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

// A process that died has closed its connections, and its machine refuses new ones. Followers of such a leader need not wait
// until it has been silent for long: they stand for election at once, one after the other, so that they do not split the
// votes. A leader that was cut off, stands still or lost its power closes nothing; it is waited for as ever.
const (
	turnTime  = 200 * time.Millisecond // between two that stand
	tryAgain  = 20 * time.Millisecond  // a process dies one socket after the other, and its port may be the last
	tryLonger = 250 * time.Millisecond // for one answer
)

// succeed stands for election whenever the leader's process has died, until the transport is closed.
func (n *Node) succeed(t *transport) {
	for {
		select {
		case <-t.layer.ended:
		case <-t.done:
			return
		}
		ended := time.Now()
		leader, turn := n.turn()
		if turn < 0 || !n.died(t, leader.Address, ended) || !t.rest(time.Duration(turn)*turnTime) {
			continue
		}
		if _, now := n.raft.LeaderWithID(); n.raft.State() == raft.Follower && (now == leader.ID || now == "") {
			n.config.Log.Warn("the leader's process has died, standing for election", "leader", leader.ID)
			t.stand()
		}
	}
}

// turn is the leader that this node follows, and how many others stand for election before it when that one is gone;
// negative: it does not stand.
func (n *Node) turn() (raft.Server, int) {
	addr, id := n.raft.LeaderWithID()
	future := n.raft.GetConfiguration()
	if id == "" || n.raft.State() != raft.Follower || future.Error() != nil {
		return raft.Server{}, -1
	}
	return raft.Server{ID: id, Address: addr}, turnOf(future.Configuration().Servers, id, raft.ServerID(n.config.ID))
}

// turnOf is the place of self among those who could follow the leader; negative: it has none.
func turnOf(servers []raft.Server, leader, self raft.ServerID) int {
	var heirs []raft.ServerID
	for _, s := range servers {
		if s.Suffrage == raft.Voter && s.ID != leader {
			heirs = append(heirs, s.ID)
		}
	}
	slices.SortFunc(heirs, func(a, b raft.ServerID) int { return cmp.Compare(a, b) })
	return slices.Index(heirs, self)
}

// died says whether nobody listens on the leader's port any more, and its machine says so. A leader that is heard of again
// lives; one that is not for an election timeout is another timer's matter.
func (n *Node) died(t *transport, addr raft.ServerAddress, ended time.Time) bool {
	for over := ended.Add(n.config.ElectionTimeout); time.Now().Before(over) && !n.raft.LastContact().After(ended); {
		conn, err := t.layer.Dial(addr, tryLonger)
		switch {
		case err == nil:
			_ = conn.Close()
		case errors.Is(err, syscall.ECONNREFUSED):
			return true
		}
		if !t.rest(tryAgain) {
			return false
		}
	}
	return false
}

// rest waits, and says whether the transport is still open.
func (t *transport) rest(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-t.done:
		return false
	}
}
