package raftstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/hashicorp/raft"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// Server is a member of the Raft group.
type Server struct {
	ID     string
	Addr   string // where it was when it was added; the transport asks its own look-up first
	Voter  bool
	Leader bool
	// Reachable says whether the server answers the leader's heartbeats. Only the leader knows: elsewhere it is true.
	Reachable bool
	// LastContact is when an unreachable server answered last; zero if it never has, or is reachable.
	LastContact time.Time
}

// Servers returns the members in the order of their IDs.
func (n *Node) Servers() []Server {
	servers, _, err := n.servers()
	if err != nil {
		return nil // shut down
	}
	return servers
}

func (n *Node) servers() (servers []Server, index uint64, err error) {
	future := n.raft.GetConfiguration()
	if err := future.Error(); err != nil {
		return nil, 0, err
	}
	leader := n.Leader()
	for _, s := range future.Configuration().Servers {
		id := string(s.ID)
		server := Server{ID: id, Addr: string(s.Address), Voter: s.Suffrage == raft.Voter, Leader: id == leader, Reachable: true}
		if silent, since := n.health.silent(id); silent && n.IsLeader() {
			server.Reachable, server.LastContact = false, since
		}
		servers = append(servers, server)
	}
	slices.SortFunc(servers, func(a, b Server) int { return strings.Compare(a.ID, b.ID) })
	return servers, future.Index(), nil
}

// AddNonvoter adds a server that gets the log but does not vote. Leader only, as all
// changes of membership; each returns when the change is committed.
func (n *Node) AddNonvoter(ctx context.Context, id, addr string) error {
	return n.changing(ctx, "add manager", id, false, func(index uint64, timeout time.Duration) raft.Future {
		return n.raft.AddNonvoter(raft.ServerID(id), raft.ServerAddress(addr), index, timeout)
	})
}

// Move gives a member another address; it keeps its vote, or has none as before. The error is of class NotFound for one
// that is no member.
func (n *Node) Move(ctx context.Context, id, addr string) error {
	for _, s := range n.Servers() {
		if s.ID == id {
			if s.Addr == addr {
				return nil
			}
			return n.changing(ctx, "move manager", id, false, func(index uint64, timeout time.Duration) raft.Future {
				// What the library does for a voter here: it changes the address alone.
				return n.raft.AddNonvoter(raft.ServerID(id), raft.ServerAddress(addr), index, timeout)
			})
		}
	}
	return cluster.Errorf(errdefs.ErrNotFound, "manager %s is no member of the raft group", id)
}

// AddVoter makes a server a voter. Add it as a non-voter first and wait until it has caught up (its Applied against
// Committed), or commits may wait for it.
func (n *Node) AddVoter(ctx context.Context, id, addr string) error {
	return n.changing(ctx, "add manager", id, false, func(index uint64, timeout time.Duration) raft.Future {
		return n.raft.AddVoter(raft.ServerID(id), raft.ServerAddress(addr), index, timeout)
	})
}

// Demote takes a server's vote. It is refused with class FailedPrecondition when the voters that are reachable after it
// would be no majority (see [Quorum]), and for the leader itself: Transfer first.
func (n *Node) Demote(ctx context.Context, id string) error {
	return n.changing(ctx, "demote manager", id, true, func(index uint64, timeout time.Duration) raft.Future {
		return n.raft.DemoteVoter(raft.ServerID(id), index, timeout)
	})
}

// Remove takes a server out of the group. It is refused as Demote is. To remove one that is no member is no error.
func (n *Node) Remove(ctx context.Context, id string) error {
	return n.changing(ctx, "remove manager", id, true, func(index uint64, timeout time.Duration) raft.Future {
		return n.raft.RemoveServer(raft.ServerID(id), index, timeout)
	})
}

// changing makes one change, guarded by the index of the configuration that it was decided on.
func (n *Node) changing(ctx context.Context, what, id string, leaves bool, change func(index uint64, timeout time.Duration) raft.Future) error {
	n.change.Lock()
	defer n.change.Unlock()
	if !n.IsLeader() {
		return store.ErrNotLeader
	}
	servers, index, err := n.servers()
	if err != nil {
		return fmt.Errorf("%s %s: %w", what, id, err)
	}
	if leaves {
		if !slices.ContainsFunc(servers, func(s Server) bool { return s.ID == id }) {
			return nil
		}
		if id == n.config.ID && len(servers) > 1 {
			return cluster.Errorf(errdefs.ErrFailedPrecondition, "%s %s: it is the leader; the lead must be handed over first", what, id)
		}
		if err := Quorum(servers, id); err != nil {
			return err
		}
	}
	return n.await(ctx, what+" "+id, change(index, 0))
}

// await returns the future's outcome in the store's words.
func (n *Node) await(ctx context.Context, what string, future raft.Future) error {
	done := make(chan error, 1)
	go func() { done <- future.Error() }()
	select {
	case err := <-done:
		switch {
		case err == nil:
			return nil
		case errors.Is(err, raft.ErrNotLeader):
			return store.ErrNotLeader
		case errors.Is(err, raft.ErrLeadershipLost):
			return fmt.Errorf("%s: %w", what, store.ErrOutcomeUnknown)
		}
		return fmt.Errorf("%s: %w", what, err)
	case <-ctx.Done():
		return fmt.Errorf("%s: %w: %w", what, store.ErrOutcomeUnknown, ctx.Err())
	}
}

// Quorum returns an error of class FailedPrecondition, which names the unreachable managers, if the reachable voters
// would be no majority of the voters once the server of that ID is gone. With an empty ID it judges the group as it is.
func Quorum(servers []Server, without string) error {
	voters, reachable := 0, 0
	var missing []string
	votes := without == ""
	for _, s := range servers {
		switch {
		case !s.Voter:
		case s.ID == without:
			votes = true
		default:
			voters++
			if s.Reachable {
				reachable++
			} else {
				missing = append(missing, s.ID)
			}
		}
	}
	switch {
	case !votes: // who has no vote can always go
		return nil
	case voters == 0:
		return cluster.Errorf(errdefs.ErrFailedPrecondition,
			"can't remove the last manager of the swarm: %s; leaving by force would give up the swarm's state", without)
	case reachable <= voters/2:
		return cluster.Errorf(errdefs.ErrFailedPrecondition,
			"can't remove manager %s from the swarm: this would result in a loss of quorum: %d of the %d managers left would be reachable, %d are needed (unreachable: %s)",
			without, reachable, voters, voters/2+1, strings.Join(missing, ", "))
	}
	return nil
}

// Transfer hands the lead to the follower that is furthest ahead. It returns when another node leads, or an error when
// that did not work: this node then leads on.
func (n *Node) Transfer() error {
	if !n.IsLeader() {
		return store.ErrNotLeader
	}
	if err := n.raft.LeadershipTransfer().Error(); err != nil {
		return fmt.Errorf("hand over the lead: %w", err)
	}
	return nil
}
