package rpc

import (
	"context"
	"net/netip"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/ca"
	"shoal/internal/cluster"
	"shoal/internal/raftstore"
	"shoal/internal/store"
)

// errToken is Swarm's sentence.
var errToken = cluster.Errorf(errdefs.ErrPermissionDenied, "A valid join token is necessary to join this cluster") // Swarm's sentence, which tools match on

// root answers with the roots, which are public.
func (s *Server) root(context.Context, Caller, *Empty) (*RootReply, error) {
	if c := store.ClusterOf(s.config.Store.View()); c != nil {
		return &RootReply{Root: c.Root.Cert}, nil
	}
	return &RootReply{Root: s.config.Identity.Bundle().Root}, nil
}

// issue signs a certificate and writes down that it did. The role is the token's for a new node, the store's for one
// that is there.
func (s *Server) issue(ctx context.Context, caller Caller, request *IssueRequest) (*IssueReply, error) {
	view := s.config.Store.View()
	c := store.ClusterOf(view)
	if c == nil {
		return nil, errNoLeader
	}
	var subject ca.Subject
	switch {
	case request.Token != "":
		role, ok := ca.Admit(c, request.Token)
		if !ok {
			return nil, errToken
		}
		subject = ca.Subject{NodeID: cluster.NewID(), ClusterID: c.ID, Role: role}
	case caller.ID != "":
		n := store.Nodes.Get(view, caller.ID)
		if n == nil {
			return nil, cluster.Errorf(errdefs.ErrPermissionDenied, "node %s is not part of the swarm", caller.ID)
		}
		subject = ca.Subject{NodeID: n.ID, ClusterID: c.ID, Role: n.Spec.Role}
		if subject.Role != swarm.NodeRoleManager && caller.Role == swarm.NodeRoleManager {
			// With this certificate it forgets its log: not while it has a vote, since a voter that forgets could vote twice.
			if err := s.notMember(ctx, n.ID); err != nil {
				return nil, err
			}
		}
	default:
		return nil, errToken
	}
	chain, err := s.sign(ctx, c, request.CSR, subject)
	if err != nil {
		return nil, err
	}
	if err := s.record(ctx, caller, request, subject, chain); err != nil {
		return nil, err
	}
	return &IssueReply{NodeID: subject.NodeID, Role: subject.Role, Chain: chain, Root: c.Root.Cert}, nil
}

// notMember returns an error of class Unavailable while a node is in the Raft group, or about to be.
func (s *Server) notMember(ctx context.Context, id string) error {
	if err := s.holdMembers(ctx); err != nil {
		return err
	}
	defer s.letMembersGo()
	g := s.config.Group()
	if g != nil && slices.ContainsFunc(g.Servers(), func(m raftstore.Server) bool { return m.ID == id }) {
		return cluster.Errorf(errdefs.ErrUnavailable, "node %s is still a member of the raft group: ask again", id)
	}
	return nil
}

func (s *Server) sign(ctx context.Context, c *cluster.Cluster, csr []byte, subject ca.Subject) ([]byte, error) {
	root, err := ca.Signer(c.Root)
	if err != nil {
		return nil, err
	}
	if external := c.Spec.CAConfig.ExternalCAs; len(external) > 0 || !root.CanSign() {
		return ca.SignExternal(ctx, external, root, s.config.Identity, csr, subject)
	}
	return root.Sign(csr, subject, c.Spec.CAConfig.NodeCertExpiry, s.config.Now())
}

// record writes the certificate to the node, which it makes when the node is new.
func (s *Server) record(ctx context.Context, caller Caller, request *IssueRequest, subject ca.Subject, chain []byte) error {
	certs, err := ca.ParseCerts(chain)
	if err != nil {
		return err
	}
	cert := cluster.Certificate{Role: subject.Role, PEM: chain, Expires: certs[0].NotAfter}
	_, err = s.config.Store.Update(ctx, func(tx *store.Tx) error {
		if request.Token == "" {
			have := store.Nodes.Get(tx, subject.NodeID)
			if have == nil {
				return cluster.Errorf(errdefs.ErrNotFound, "node %s not found", subject.NodeID)
			}
			if have.Spec.Role != subject.Role {
				return cluster.Errorf(errdefs.ErrAborted, "the role of node %s changed while its certificate was made: ask again", subject.NodeID)
			}
			n := *have
			n.Cert = cert
			store.Nodes.Put(tx, &n)
			return nil
		}
		if role, ok := ca.Admit(store.ClusterOf(tx), request.Token); !ok || role != subject.Role {
			return errToken // rotated meanwhile
		}
		n, err := newNode(tx, caller, request, subject)
		if err != nil {
			return err
		}
		n.Cert = cert
		store.Nodes.Put(tx, n)
		return nil
	})
	return err
}

func newNode(r store.Reader, caller Caller, request *IssueRequest, subject ca.Subject) (*cluster.Node, error) {
	addr := request.Addr
	if addr == "" {
		addr = caller.Addr
	}
	n := &cluster.Node{Node: swarm.Node{ID: subject.NodeID}}
	n.Spec.Role = subject.Role
	n.Spec.Availability = request.Availability
	if n.Spec.Availability == "" {
		n.Spec.Availability = swarm.NodeAvailabilityActive
	}
	n.Description.Hostname = request.Hostname
	n.Status = swarm.NodeStatus{State: swarm.NodeStateUnknown, Message: "joined, not heard of yet", Addr: addr}
	data := request.DataAddr
	if data == "" {
		data = addr
	}
	var err error
	if n.DataAddr, err = netip.ParseAddr(data); err != nil {
		return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "data path address %q is not an IP address", data)
	}
	n.DataAddr = n.DataAddr.Unmap().WithZone("")
	n.Number, err = FreeNumber(r)
	return n, err
}

// maxNumber is the highest number of a node; see cluster.Node.
const maxNumber = 4095

// FreeNumber is the lowest number that no node has.
func FreeNumber(r store.Reader) (uint16, error) {
	var taken [maxNumber + 1]bool
	for n := range store.Nodes.All(r) {
		if int(n.Number) < len(taken) {
			taken[n.Number] = true
		}
	}
	for i := 1; i <= maxNumber; i++ {
		if !taken[i] {
			return uint16(i), nil
		}
	}
	return 0, cluster.Errorf(errdefs.ErrResourceExhausted, "the swarm has %d nodes, which is all it can number", maxNumber)
}
