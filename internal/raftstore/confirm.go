package raftstore

import (
	"context"
	"sync"
)

// confirmer asks a majority whether this node leads, once for all who want to know at the same time.
type confirmer struct {
	ask  func() error // blocks until a majority has answered, or the lead is lost
	mu   sync.Mutex
	busy bool   // somebody asks
	next *round // begins when that one is over; nil: nobody waits for it
}

// round is one question. err is set when done is closed.
type round struct {
	done chan struct{}
	err  error
}

// wait returns the answer to a question that was put after the call: an earlier one says nothing about this moment.
func (c *confirmer) wait(ctx context.Context) error {
	c.mu.Lock()
	if c.next == nil {
		c.next = &round{done: make(chan struct{})}
	}
	mine := c.next
	if !c.busy {
		c.busy = true
		go c.run()
	}
	c.mu.Unlock()
	select {
	case <-mine.done:
		return mine.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *confirmer) run() {
	for {
		c.mu.Lock()
		r := c.next
		c.next = nil
		c.busy = r != nil
		c.mu.Unlock()
		if r == nil {
			return
		}
		r.err = c.ask()
		close(r.done)
	}
}

// Confirm returns nil when, at some moment after the call, this node led and nobody else could: what it reads of its store
// afterwards is not older than anything that was acknowledged or read anywhere before the call, provided that LeaderCh has told
// the gain of that lead. It takes a heartbeat to a majority, which all callers of the same moment share. The error is
// store.ErrNotLeader, or that of ctx.
func (n *Node) Confirm(ctx context.Context) error { return n.confirmer.wait(ctx) }

// barrier returns nil when everything is applied that was committed before this node's lead, and notes the term of that lead.
func (n *Node) barrier() error {
	term := n.raft.CurrentTerm()
	if err := n.raft.Barrier(0).Error(); err != nil {
		return err
	}
	if n.raft.CurrentTerm() == term {
		n.settled.Store(term)
	}
	return nil
}
