package rpc

import (
	"context"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"
	"google.golang.org/grpc/metadata"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// errNoLeader is Docker's sentence for it.
var errNoLeader = cluster.Errorf(errdefs.ErrUnavailable, "The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the managers are online.") // Docker's sentence, which clients match on

// forward has the leader answer a call, in the caller's name.
func (s *Server) forward(ctx context.Context, caller Caller, m *method, request, reply any) error {
	_, addr := s.leaderNow()
	if addr == "" || caller.Forwarded { // the one who forwarded thought that we lead: its view is older than ours
		return errNoLeader
	}
	client, err := s.dialer.get(ctx, addr)
	if err != nil {
		return err
	}
	ctx = metadata.NewOutgoingContext(ctx, metadata.Pairs(keyForwarded, "1", keyID, caller.ID, keyRole, string(caller.Role), keyAddr, caller.Addr))
	return fromStatus(client.conn.Invoke(ctx, m.name, request, reply))
}

// electionTime is how long a caller who asks for the leader waits while there is none. It asks the next manager otherwise, with
// another handshake, and all nodes do so at once when a leader has died.
const electionTime = time.Second

// awaitLeader is who leads and where, or will in a moment; empty when nobody does.
func (s *Server) awaitLeader(ctx context.Context) (id, addr string) {
	ctx, cancel := context.WithTimeout(ctx, electionTime)
	defer cancel()
	for g := s.config.Group(); g != nil && addr == "" && ctx.Err() == nil; {
		changed := g.LeaderChanged()
		if id, addr = s.leaderNow(); addr != "" {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	return id, addr
}

// leaderNow is who leads and where; empty while nobody does, or its address is not known here yet.
func (s *Server) leaderNow() (id, addr string) {
	g := s.config.Group()
	if g == nil {
		return "", ""
	}
	id = g.Leader()
	if id == "" {
		return "", ""
	}
	if id == s.config.Identity.Subject().NodeID {
		return id, s.config.Advertise
	}
	if n := store.Nodes.Get(s.config.Store.View(), id); n != nil && n.ManagerStatus != nil {
		addr = n.ManagerStatus.Addr
	}
	return id, addr
}

// Managers lists the managers that have an address, in the order of their IDs.
func Managers(r store.Reader) []swarm.Peer {
	var list []swarm.Peer
	for n := range store.Nodes.All(r) {
		if n.Spec.Role == swarm.NodeRoleManager && n.ManagerStatus != nil && n.ManagerStatus.Addr != "" {
			list = append(list, swarm.Peer{NodeID: n.ID, Addr: n.ManagerStatus.Addr})
		}
	}
	return list
}
