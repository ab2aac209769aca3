package rpc

import (
	"context"
	"errors"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/ca"
	"shoal/internal/cluster"
)

// Membership is what a machine that joins says of itself.
type Membership struct {
	Managers       []string // host:port, tried in turn
	Token          string
	Availability   swarm.NodeAvailability
	Addr, DataAddr string // IP addresses; empty: where the call comes from
	Hostname       string
}

// Join gets the machine a certificate with a join token: it fetches the root from whoever answers, believes it only if
// its digest is the token's, and only then shows the token, to a manager under that root. The error is of class
// PermissionDenied when the token or the root is wrong (the other addresses are not tried), Unavailable when nobody
// answered.
func Join(ctx context.Context, m Membership) (ca.Bundle, error) {
	token, err := ca.ParseToken(m.Token)
	if err != nil {
		return ca.Bundle{}, err
	}
	var errs []error
	for _, addr := range m.Managers {
		b, err := joinAt(ctx, addr, token, m)
		if err == nil || !errors.Is(err, errdefs.ErrUnavailable) {
			return b, err
		}
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		return ca.Bundle{}, cluster.Errorf(errdefs.ErrInvalidArgument, "no address of a manager to join at")
	}
	return ca.Bundle{}, errors.Join(errs...)
}

func joinAt(ctx context.Context, addr string, token ca.Token, m Membership) (ca.Bundle, error) {
	root, err := fetchRoot(ctx, addr, token)
	if err != nil {
		return ca.Bundle{}, err
	}
	config, err := ca.Anonymous(root, protoGRPC)
	if err != nil {
		return ca.Bundle{}, err
	}
	client, err := dialGRPC(ctx, config, addr)
	if err != nil {
		return ca.Bundle{}, err
	}
	defer client.Close()
	key, csr, err := ca.NewRequest()
	if err != nil {
		return ca.Bundle{}, err
	}
	reply, err := client.Issue(ctx, &IssueRequest{
		CSR: csr, Token: m.Token, Availability: m.Availability, Addr: m.Addr, DataAddr: m.DataAddr, Hostname: m.Hostname,
	})
	if err != nil {
		return ca.Bundle{}, err
	}
	return ca.Bundle{Chain: reply.Chain, Key: key, Root: reply.Root}, nil
}

func fetchRoot(ctx context.Context, addr string, token ca.Token) ([]byte, error) {
	config, err := ca.Anonymous(nil, protoGRPC)
	if err != nil {
		return nil, err
	}
	client, err := dialGRPC(ctx, config, addr)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	reply, err := client.Root(ctx)
	if err != nil {
		return nil, err
	}
	return token.Trusted(reply.Root)
}

// Issuer is a connection to who gives certificates; [Client] is the body.
type Issuer interface {
	Issue(ctx context.Context, request *IssueRequest) (*IssueReply, error)
}

// Renew gets the node of that identity a certificate for the role that the store gives it now. The caller saves it and
// puts it in use.
func Renew(ctx context.Context, client Issuer, identity *ca.Identity) (ca.Bundle, error) {
	key, csr, err := ca.NewRequest()
	if err != nil {
		return ca.Bundle{}, err
	}
	reply, err := client.Issue(ctx, &IssueRequest{CSR: csr})
	if err != nil {
		return ca.Bundle{}, err
	}
	b := identity.Bundle()
	b.Chain, b.Key, b.Root = reply.Chain, key, reply.Root
	return b, nil
}
