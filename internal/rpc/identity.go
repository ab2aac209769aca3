package rpc

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"shoal/internal/ca"
	"shoal/internal/cluster"
	"shoal/internal/store"
)

// Caller is who makes a call: by its certificate, or by the word of the manager that forwards it.
type Caller struct {
	ID   string         // empty: nobody with a certificate
	Role swarm.NodeRole // as the certificate says
	Addr string         // the IP address that the call came from, when it is known
	// Forwarded says that a manager passed the call on: it is not passed on again.
	Forwarded bool
}

// admit says who calls, or why the call is refused. It is the only reader of method.access.
func (s *Server) admit(ctx context.Context, m *method) (Caller, error) {
	from, err := s.connected(ctx)
	if err != nil {
		return Caller{}, err
	}
	caller, err := forwardedFor(ctx, from)
	if err != nil {
		return Caller{}, err
	}
	if err := s.known(caller); err != nil {
		return Caller{}, err
	}
	switch m.access {
	case anyone:
		return caller, nil
	case nodes, managers:
		if caller.ID == "" {
			return Caller{}, cluster.Errorf(errdefs.ErrUnauthenticated, "%s needs a certificate of this swarm", m.name)
		}
	}
	if m.access == managers && !s.manages(caller) {
		return Caller{}, cluster.Errorf(errdefs.ErrPermissionDenied, "node %s is not a manager: %s is refused", caller.ID, m.name)
	}
	return caller, nil
}

// connected is who holds the other end of the connection.
func (s *Server) connected(ctx context.Context) (Caller, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return Caller{}, cluster.Errorf(errdefs.ErrUnauthenticated, "the call came over no connection")
	}
	info, ok := p.AuthInfo.(tlsInfo)
	if !ok {
		return Caller{}, cluster.Errorf(errdefs.ErrUnauthenticated, "the call came over no TLS connection")
	}
	caller, err := s.holder(info.state)
	if err != nil {
		return Caller{}, err
	}
	caller.Addr = hostOf(p.Addr)
	return caller, nil
}

// holder is whom the connection's certificate names; nobody when it has none. The handshake has verified it.
func (s *Server) holder(state tls.ConnectionState) (Caller, error) {
	if len(state.PeerCertificates) == 0 {
		return Caller{}, nil
	}
	subject, err := ca.SubjectOf(state.PeerCertificates[0])
	if err != nil {
		return Caller{}, err
	}
	if subject.ClusterID != s.config.Identity.Subject().ClusterID {
		return Caller{}, cluster.Errorf(errdefs.ErrPermissionDenied, "node %s belongs to another swarm", subject.NodeID)
	}
	return Caller{ID: subject.NodeID, Role: subject.Role}, nil
}

// known refuses nodes that were removed from the swarm.
func (s *Server) known(caller Caller) error {
	c := store.ClusterOf(s.config.Store.View())
	if c == nil || caller.ID == "" {
		return nil
	}
	if _, removed := c.Removed[caller.ID]; removed {
		return cluster.Errorf(errdefs.ErrPermissionDenied, "node %s was removed from the swarm", caller.ID)
	}
	return nil
}

// manages says whether the caller acts as a manager. The leader knows the roles of this moment, so a demoted node's old
// certificate does not help it there; others may lag and go by the certificate.
func (s *Server) manages(caller Caller) bool {
	if caller.Role != swarm.NodeRoleManager {
		return false
	}
	if !s.leads() {
		return true
	}
	n := store.Nodes.Get(s.config.Store.View(), caller.ID)
	return n != nil && n.Spec.Role == swarm.NodeRoleManager
}

// Metadata of a forwarded call.
const (
	keyForwarded = "shoal-forwarded"
	keyID        = "shoal-caller-id"
	keyRole      = "shoal-caller-role"
	keyAddr      = "shoal-caller-addr"
)

// forwardedFor is whom a call is made for. Only managers may speak for others.
func forwardedFor(ctx context.Context, from Caller) (Caller, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	if len(md.Get(keyForwarded)) == 0 {
		return from, nil
	}
	if from.Role != swarm.NodeRoleManager {
		return Caller{}, cluster.Errorf(errdefs.ErrPermissionDenied, "only managers may forward calls")
	}
	return Caller{ID: first(md, keyID), Role: swarm.NodeRole(first(md, keyRole)), Addr: first(md, keyAddr), Forwarded: true}, nil
}

func first(md metadata.MD, key string) string {
	if v := md.Get(key); len(v) > 0 {
		return v[0]
	}
	return ""
}

func hostOf(addr net.Addr) string {
	if addr == nil {
		return ""
	}
	host, _, err := net.SplitHostPort(addr.String())
	if err != nil {
		return ""
	}
	return host
}

// tlsInfo is what gRPC keeps of a connection: the finished handshake.
type tlsInfo struct {
	credentials.CommonAuthInfo
	state tls.ConnectionState
}

// AuthType names the kind of connection to gRPC.
func (tlsInfo) AuthType() string { return "tls" }

// handshaken tells gRPC that its connections have had their handshake: we make it, to choose by ALPN.
type handshaken struct{}

func (handshaken) ClientHandshake(_ context.Context, _ string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return shake(conn)
}

func (handshaken) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return shake(conn)
}

func shake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secure, ok := conn.(interface{ ConnectionState() tls.ConnectionState })
	if !ok {
		return nil, nil, cluster.Errorf(errdefs.ErrInternal, "a connection without TLS was given to gRPC")
	}
	return conn, tlsInfo{credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}, secure.ConnectionState()}, nil
}

func (handshaken) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone returns itself: there is nothing to share.
func (h handshaken) Clone() credentials.TransportCredentials { return h }

// OverrideServerName is part of gRPC's interface and unused: a manager proves its role, not its name.
func (handshaken) OverrideServerName(string) error { return nil }
