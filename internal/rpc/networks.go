package rpc

import (
	"context"

	"github.com/containerd/errdefs"

	"shoal/internal/cluster"
)

var errNoNetworks = cluster.Errorf(errdefs.ErrUnavailable, "this manager gives no places in networks")

func (s *Server) attach(ctx context.Context, caller Caller, request *cluster.AttachRequest) (*cluster.Place, error) {
	if s.config.Networks == nil {
		return nil, errNoNetworks
	}
	place, err := s.config.Networks.Attach(ctx, caller.ID, *request)
	return &place, err
}

func (s *Server) detach(ctx context.Context, caller Caller, request *DetachRequest) (*Empty, error) {
	if s.config.Networks == nil {
		return nil, errNoNetworks
	}
	return &Empty{}, s.config.Networks.Detach(ctx, caller.ID, request.TaskIDs)
}

func (s *Server) places(_ context.Context, caller Caller, _ *Empty) (*PlacesReply, error) {
	if s.config.Networks == nil {
		return nil, errNoNetworks
	}
	return &PlacesReply{Places: s.config.Networks.Places(caller.ID)}, nil
}

func (s *Server) networks(_ context.Context, caller Caller, _ *Empty) (*NetworksReply, error) {
	if s.config.Networks == nil {
		return nil, errNoNetworks
	}
	return &NetworksReply{Networks: s.config.Networks.NetworksFor(caller.ID)}, nil
}
