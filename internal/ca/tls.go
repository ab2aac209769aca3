package ca

import (
	"crypto/tls"
	"crypto/x509"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// Server is the TLS side of port 2377: TLS 1.3, a client's certificate is asked for and not demanded, but one that is
// shown must be of this cluster.
func (i *Identity) Server(protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             protocols,
		SessionTicketsDisabled: true, // a resumed session would outlive a removal
		ClientAuth:             tls.RequestClientCert,
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return i.held().cert, nil },
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 {
				return nil
			}
			_, err := i.verify(s, x509.ExtKeyUsageClientAuth)
			return err
		},
	}
}

// Client is the TLS side of a call to a manager of this cluster: whoever answers must prove to be one, at whatever
// address.
func (i *Identity) Client(protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		NextProtos:         protocols,
		ServerName:         ouManager,
		InsecureSkipVerify: true, // VerifyConnection does it, with the roots of that moment
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return i.held().cert, nil
		},
		VerifyConnection: func(s tls.ConnectionState) error {
			peer, err := i.verify(s, x509.ExtKeyUsageServerAuth)
			if err == nil && peer.Role != swarm.NodeRoleManager {
				return cluster.Errorf(errdefs.ErrPermissionDenied, "node %s answered, which is not a manager", peer.NodeID)
			}
			return err
		},
	}
}

func (i *Identity) verify(s tls.ConnectionState, usage x509.ExtKeyUsage) (Subject, error) {
	h := i.held()
	peer, err := verify(s, h.roots, usage)
	if err == nil && peer.ClusterID != h.subject.ClusterID {
		err = cluster.Errorf(errdefs.ErrPermissionDenied, "node %s belongs to another swarm", peer.NodeID)
	}
	return peer, err
}

// verify checks that the other side's certificate is a node's, under one of the roots, now.
func verify(s tls.ConnectionState, roots *x509.CertPool, usage x509.ExtKeyUsage) (Subject, error) {
	if len(s.PeerCertificates) == 0 {
		return Subject{}, cluster.Errorf(errdefs.ErrUnauthenticated, "no certificate was shown")
	}
	between := x509.NewCertPool()
	for _, c := range s.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{usage},
	})
	if err != nil {
		return Subject{}, cluster.Errorf(errdefs.ErrUnauthenticated, "certificate refused: %v", err)
	}
	return SubjectOf(s.PeerCertificates[0])
}

// Anonymous is the TLS side of a caller that has no certificate yet. rootPEM nil: whoever answers is believed, good
// only for fetching a root whose digest is then compared. Otherwise the answerer must be a manager under that root.
func Anonymous(rootPEM []byte, protocols ...string) (*tls.Config, error) {
	c := &tls.Config{
		MinVersion:         tls.VersionTLS13,
		NextProtos:         protocols,
		ServerName:         ouManager,
		InsecureSkipVerify: true, // VerifyConnection does it, or the digest of the token
	}
	if rootPEM == nil {
		return c, nil
	}
	roots, err := pool(rootPEM)
	if err != nil {
		return nil, err
	}
	c.VerifyConnection = func(s tls.ConnectionState) error {
		peer, err := verify(s, roots, x509.ExtKeyUsageServerAuth)
		if err == nil && peer.Role != swarm.NodeRoleManager {
			return cluster.Errorf(errdefs.ErrPermissionDenied, "node %s answered, which is not a manager", peer.NodeID)
		}
		return err
	}
	return c, nil
}
