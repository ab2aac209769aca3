package raftstore

import (
	"fmt"
	"sync"
	"time"
)

// leaderCh turns Raft's notices into those of [Node.LeaderCh]. Raft blocks on the channel that it writes to, so this
// one always reads, however slow the reader behind it is.
type leaderCh struct {
	notify chan bool // Raft writes
	out    chan bool
	done   chan struct{}
	once   sync.Once
}

func newLeaderCh() *leaderCh {
	return &leaderCh{notify: make(chan bool, 1), out: make(chan bool), done: make(chan struct{})}
}

// run ends with stop. barrier returns nil when all that was committed before is applied, an error when the lead is lost.
// pace is told of every gain and loss at once.
func (l *leaderCh) run(barrier func() error, pace func(leads bool)) {
	defer close(l.out)
	var (
		told         bool // the last thing told
		lost, gained bool // not told yet, in this order
		term         int  // counts notices: a barrier of an earlier one means nothing
		applied      = make(chan int)
	)
	for {
		var out chan<- bool
		if lost || gained {
			out = l.out
		}
		select {
		case <-l.done:
			return
		case out <- !lost:
			told = !lost
			if lost {
				lost = false
			} else {
				gained = false
			}
		case leads := <-l.notify:
			pace(leads)
			term++
			lost, gained = told, false
			if leads {
				go l.wait(barrier, applied, term)
			}
		case t := <-applied:
			gained = t == term
		}
	}
}

func (l *leaderCh) wait(barrier func() error, applied chan<- int, term int) {
	if barrier() != nil {
		return
	}
	select {
	case applied <- term:
	case <-l.done:
	}
}

func (l *leaderCh) stop() { l.once.Do(func() { close(l.done) }) }

// heartbeat is Raft's HeartbeatTimeout, which says two things: how long a follower waits for its leader, and, a tenth to a
// fifth of it, how often a leader beats. Followers need no beat so often, and beats are most of what an idle manager does.
func heartbeat(election time.Duration, leads bool) time.Duration {
	if leads {
		return election * 3 / 2
	}
	return election
}

// pace sets the heartbeat of a leader or a follower.
func (n *Node) pace(leads bool) {
	c := n.raft.ReloadableConfig()
	c.HeartbeatTimeout = heartbeat(n.config.ElectionTimeout, leads)
	c.ElectionTimeout = c.HeartbeatTimeout // which Raft wants to be no shorter, and a leader does not use
	if err := n.raft.ReloadConfig(c); err != nil {
		panic(fmt.Sprintf("raftstore: heartbeat of %v: %v", c.HeartbeatTimeout, err)) // the same for every node: a test would fail
	}
}
