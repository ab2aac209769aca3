package rpc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"

	"google.golang.org/grpc/peer"

	"shoal/internal/cluster"
)

// Local makes calls to a server in the same process for whoever holds a certificate, in the encoding and through the gate of calls
// over the port: it is for a simulated network.
type Local struct {
	Server *Server
	Cert   *x509.Certificate
	Addr   net.Addr // where the call comes from
}

// Issue asks for a certificate.
func (l Local) Issue(ctx context.Context, request *IssueRequest) (*IssueReply, error) {
	return local[IssueRequest, IssueReply](ctx, l, methodIssue, request)
}

// Join makes the caller a member of the Raft group.
func (l Local) Join(ctx context.Context, request *JoinRequest) (*JoinReply, error) {
	return local[JoinRequest, JoinReply](ctx, l, methodJoin, request)
}

func local[Q, R any](ctx context.Context, l Local, name string, request *Q) (*R, error) {
	state := tls.ConnectionState{PeerCertificates: []*x509.Certificate{l.Cert}}
	ctx = peer.NewContext(ctx, &peer.Peer{Addr: l.Addr, AuthInfo: tlsInfo{state: state}})
	reply := new(R)
	for i := range methods {
		if methods[i].name != name {
			continue
		}
		answer, err := methods[i].unary(l.Server, ctx, &methods[i], func(into any) error { return copied(request, into) })
		if err == nil {
			err = copied(answer, reply)
		}
		return reply, fromStatus(toStatus(err))
	}
	panic("no method " + name)
}

// copied carries a message over as the wire does.
func copied(from, to any) error {
	b, err := cluster.Marshal(from)
	if err != nil {
		return err
	}
	return cluster.Unmarshal(b, to)
}
