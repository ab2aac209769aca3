package raftstore

import (
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
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
// pace is told of every gain and loss at once, and beat is called every so often while this node leads.
func (l *leaderCh) run(barrier func() error, pace func(leads bool), beat func(), every time.Duration) {
	defer close(l.out)
	ticker := time.NewTicker(every)
	ticker.Stop()
	defer ticker.Stop()
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
			ticker.Stop()
			term++
			lost, gained = told, false
			if leads {
				ticker.Reset(every)
				go l.wait(barrier, applied, term)
			}
		case <-ticker.C:
			beat()
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

// beatEvery is how often a leader beats. Beats are most of what an idle manager does, and waking up is most of a beat: so
// they go to all followers in the same moment, where the library has a timer for each.
func beatEvery(election time.Duration) time.Duration { return election * 3 / 10 }

// heartbeat is Raft's HeartbeatTimeout, which says two things: how long a follower waits for its leader, and, a tenth to a
// fifth of it, how often a leader's timers beat. Those stay behind beatEvery, for a loop that is held up by the disk.
func heartbeat(election time.Duration, leads bool) time.Duration {
	if leads {
		return election * 7 / 2
	}
	return election
}

// pace sets the heartbeat of a leader or a follower.
func (n *Node) pace(leads bool) { n.reload(heartbeat(n.config.ElectionTimeout, leads)) }

// beat has Raft beat to all followers now, which it does when it is told to do so more often than before.
func (n *Node) beat() {
	timeout := heartbeat(n.config.ElectionTimeout, true)
	n.reload(timeout + 1)
	n.reload(timeout)
}

func (n *Node) reload(timeout time.Duration) {
	err := n.configure(func(c *raft.ReloadableConfig) {
		c.HeartbeatTimeout = timeout
		c.ElectionTimeout = timeout // which Raft wants to be no shorter, and a leader does not use
	})
	if err != nil {
		panic(fmt.Sprintf("raftstore: heartbeat of %v: %v", timeout, err)) // the same for every node: a test would fail
	}
}

// configure changes Raft's settings, one caller after the other.
func (n *Node) configure(change func(*raft.ReloadableConfig)) error {
	n.settings.Lock()
	defer n.settings.Unlock()
	c := n.raft.ReloadableConfig()
	change(&c)
	return n.raft.ReloadConfig(c)
}
