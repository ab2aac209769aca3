package rpc

import (
	"context"
	"net/netip"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// MoveRequest says where the caller is from now on.
type MoveRequest struct {
	Addr     string // host:port where other nodes reach it
	DataAddr string // the IP address of its overlay traffic
}

// Move tells the swarm that the caller, a node, has another address. Ask every manager until one returns nil: a manager
// that is asked looks for the caller at the new address at once, even while nobody leads since the caller is missing.
func (c *Client) Move(ctx context.Context, request *MoveRequest) error {
	_, err := call[MoveRequest, Empty](ctx, c, methodMove, request)
	return err
}

// move writes down where the caller is now. It is answered by the leader, and heard by every manager that passes it on.
func (s *Server) move(ctx context.Context, caller Caller, request *MoveRequest) (*Empty, error) {
	addr, err := netip.ParseAddrPort(request.Addr)
	if err != nil {
		return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "address of node %s: %v", caller.ID, err)
	}
	data, err := netip.ParseAddr(request.DataAddr)
	if err != nil {
		return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "data path address of node %s: %v", caller.ID, err)
	}
	if s.config.Moved != nil && s.manages(caller) {
		s.config.Moved(caller.ID, request.Addr)
	}
	if !s.leads() {
		reply := new(Empty)
		return reply, s.forward(ctx, caller, &method{name: methodMove}, request, reply)
	}
	votes := false
	_, err = s.config.Store.Update(ctx, func(tx *store.Tx) error {
		have := store.Nodes.Get(tx, caller.ID)
		if have == nil {
			return cluster.Errorf(errdefs.ErrPermissionDenied, "node %s is not part of the swarm", caller.ID)
		}
		n := *have
		n.Status.Addr, n.DataAddr = addr.Addr().String(), data
		if votes = n.Spec.Role == swarm.NodeRoleManager && n.ManagerStatus != nil; votes {
			status := *n.ManagerStatus
			status.Addr = request.Addr
			n.ManagerStatus = &status
		}
		store.Nodes.Put(tx, &n)
		return nil
	})
	if err != nil || !votes {
		return &Empty{}, err
	}
	g := s.config.Group()
	if g == nil {
		return nil, errNoLeader
	}
	return &Empty{}, g.Move(ctx, caller.ID, request.Addr)
}
