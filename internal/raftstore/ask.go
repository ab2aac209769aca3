package raftstore

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"shoal/internal/store"
)

// asked is which servers have not answered yet what this node has asked them: nobody is asked twice at the same time, so
// that one which hangs costs one goroutine, however many want to know.
type asked struct {
	mu   sync.Mutex
	busy map[raft.ServerID]bool
}

func (a *asked) begin(id raft.ServerID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.busy[id] {
		return false
	}
	if a.busy == nil {
		a.busy = map[raft.ServerID]bool{}
	}
	a.busy[id] = true
	return true
}

func (a *asked) end(id raft.ServerID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.busy, id)
}

// followed says whether a majority took this node for the leader of that term, after the call. It sends the heartbeats that
// Verify has the library send, but itself: the library's loop is held up by each write to the disk, and reads would wait
// with it. term is one that this node has led, so that the word of its heartbeats is true. false says nothing.
func (n *Node) followed(term uint64) bool {
	future := n.raft.GetConfiguration()
	if future.Error() != nil {
		return false
	}
	self := raft.ServerID(n.config.ID)
	voters, have, out := 0, 0, 0
	answers := make(chan bool, len(future.Configuration().Servers))
	for _, s := range future.Configuration().Servers {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		if s.ID == self {
			have++
			continue
		}
		if n.asked.begin(s.ID) {
			out++
			go func() {
				defer n.asked.end(s.ID)
				answers <- n.follows(s, term)
			}()
		}
	}
	patience := time.NewTimer(n.config.ElectionTimeout)
	defer patience.Stop()
	for ; have <= voters/2 && out > 0; out-- {
		select {
		case yes := <-answers:
			if yes {
				have++
			}
		case <-patience.C:
			return false
		}
	}
	return have > voters/2
}

// follows sends one heartbeat.
func (n *Node) follows(s raft.Server, term uint64) bool {
	t := n.config.Transport
	request := raft.AppendEntriesRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(n.config.ID), Addr: t.EncodePeer(raft.ServerID(n.config.ID), t.LocalAddr())},
		Term:      term,
	}
	var response raft.AppendEntriesResponse
	return t.AppendEntries(s.ID, s.Address, &request, &response) == nil && response.Success && response.Term == term
}

// confirm asks. A majority's word is not enough for a leader that has not applied yet what earlier leaders committed.
func (n *Node) confirm() error {
	term := n.settled.Load()
	if !n.leads(term) {
		return store.ErrNotLeader
	}
	if !n.followed(term) {
		if err := n.Verify(); err != nil {
			return err
		}
	}
	if !n.leads(term) {
		return store.ErrNotLeader
	}
	return nil
}

func (n *Node) leads(term uint64) bool { return n.IsLeader() && n.raft.CurrentTerm() == term }
