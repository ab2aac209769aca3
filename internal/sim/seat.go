package sim

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/raftstore"
	"shoal/internal/store"
)

// seat is a manager's view of the group and its hand on who is in it, as raftstore.Node's.
type seat struct {
	m     *manager
	blind bool // it sees no members, for [LieMember]
}

// IsLeader says whether it leads, as far as it knows.
func (s seat) IsLeader() bool {
	s.m.w.mu.Lock()
	defer s.m.w.mu.Unlock()
	return s.m.leads
}

// Leader is the manager itself while it leads; of others it says nothing, so that nothing is passed on: there is no port.
func (s seat) Leader() string {
	if s.IsLeader() {
		return s.m.host.id
	}
	return ""
}

// LeaderChanged says nothing: whoever asks here for the leader does not wait for one.
func (s seat) LeaderChanged() <-chan struct{} { return nil }

// Servers are the members, in the order of their IDs.
func (s seat) Servers() []raftstore.Server {
	s.m.w.mu.Lock()
	defer s.m.w.mu.Unlock()
	if s.blind {
		return nil
	}
	return s.servers()
}

func (s seat) servers() (list []raftstore.Server) {
	w, g := s.m.w, s.m.w.group
	for id, votes := range g.members {
		h := w.host(id)
		list = append(list, raftstore.Server{
			ID: id, Addr: id + port, Voter: votes, Leader: id == g.leader,
			Reachable: h == s.m.host || h.manager != nil && w.net.both(s.m.host.id, id),
		})
	}
	slices.SortFunc(list, func(a, b raftstore.Server) int { return strings.Compare(a.ID, b.ID) })
	return list
}

func (s seat) status(id string) *swarm.ManagerStatus {
	for _, server := range s.Servers() {
		if server.ID == id {
			return &swarm.ManagerStatus{Leader: server.Leader, Reachability: swarm.ReachabilityReachable}
		}
	}
	return nil
}

func (s seat) mayLose(id string) bool { return raftstore.Quorum(s.Servers(), id) == nil }

// AddNonvoter adds a member without a vote; one that has a vote keeps it.
func (s seat) AddNonvoter(ctx context.Context, id, _ string) error {
	return s.change(ctx, "gets the log", id, func(g *group) error {
		if _, member := g.members[id]; !member {
			g.members[id] = false
		}
		return nil
	})
}

// AddVoter gives a member its vote.
func (s seat) AddVoter(ctx context.Context, id, _ string) error {
	return s.change(ctx, "votes", id, func(g *group) error {
		g.members[id] = s.m.w.lie != LieVote
		return nil
	})
}

// Move does nothing: addresses do not change here.
func (seat) Move(context.Context, string, string) error { return nil }

// Remove takes a member out.
func (s seat) Remove(ctx context.Context, id string) error {
	return s.change(ctx, "is out of the group", id, func(g *group) error {
		if id == s.m.host.id {
			return cluster.Errorf(errdefs.ErrFailedPrecondition, "%s leads", id)
		}
		if _, member := g.members[id]; !member {
			return nil
		}
		if err := raftstore.Quorum(s.servers(), id); err != nil {
			return err
		}
		if s.m.w.lie != LieRemoved {
			delete(g.members, id)
		}
		return nil
	})
}

// Transfer hands the lead to another manager.
func (s seat) Transfer() error {
	s.m.w.mu.Lock()
	defer s.m.w.mu.Unlock()
	return s.transfer()
}

func (s seat) transfer() error {
	g := s.m.w.group
	if !s.m.leads || g.leader != s.m.host.id || !g.majority(s.m.host) {
		return store.ErrNotLeader
	}
	able := g.able(s.m)
	if len(able) == 0 {
		return errors.New("nobody takes the lead")
	}
	g.stepDown(s.m)
	g.events++
	g.elect(able[g.w.dice.roll(uint64(len(able)), "transfer", g.events)])
	return nil
}

// change commits a change of the members while m leads with a majority.
func (s seat) change(ctx context.Context, what, id string, f func(*group) error) error {
	m, w := s.m, s.m.w
	w.mu.Lock()
	m.changes++
	k := m.changes + m.born<<32
	wait := w.dice.delay(10*time.Millisecond, 500*time.Millisecond, "change "+m.host.id, k)
	if w.lie == LieMember || w.dice.one(3, "slow change "+m.host.id, k) { // behind others
		wait = w.dice.between(0, 3*time.Second, "change "+m.host.id, k)
	}
	w.mu.Unlock()
	for {
		if pause(ctx, wait) != nil {
			return store.ErrOutcomeUnknown
		}
		w.mu.Lock()
		switch {
		case m.dead || !m.leads || w.group.leader != m.host.id:
			w.mu.Unlock()
			return store.ErrNotLeader
		case w.group.majority(m.host):
			err := f(w.group)
			w.note("%s %s: %v", id, what, err)
			w.mu.Unlock()
			return err
		}
		w.mu.Unlock()
		wait = 20 * time.Millisecond
	}
}
