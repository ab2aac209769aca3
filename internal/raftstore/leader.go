package raftstore

import "sync"

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
func (l *leaderCh) run(barrier func() error) {
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
