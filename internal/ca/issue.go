package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// Bounds of a node certificate's life.
const (
	DefaultExpiry = 2160 * time.Hour
	MinExpiry     = time.Hour
)

// The roles as certificates name them, in OU.
const (
	ouManager = "swarm-manager"
	ouWorker  = "swarm-worker"
)

// Subject is whom a certificate is about.
type Subject struct {
	NodeID, ClusterID string
	Role              swarm.NodeRole
}

// SubjectOf reads whom a certificate is about; the error says that it is no node's certificate.
func SubjectOf(cert *x509.Certificate) (Subject, error) {
	name := cert.Subject
	s := Subject{NodeID: name.CommonName}
	if len(name.Organization) == 1 {
		s.ClusterID = name.Organization[0]
	}
	if len(name.OrganizationalUnit) == 1 {
		switch name.OrganizationalUnit[0] {
		case ouManager:
			s.Role = swarm.NodeRoleManager
		case ouWorker:
			s.Role = swarm.NodeRoleWorker
		}
	}
	if s.NodeID == "" || s.ClusterID == "" || s.Role == "" {
		return Subject{}, cluster.Errorf(errdefs.ErrUnauthenticated, "certificate of %q is no node's certificate", name)
	}
	return s, nil
}

func (s Subject) name() pkix.Name {
	return pkix.Name{CommonName: s.NodeID, Organization: []string{s.ClusterID}, OrganizationalUnit: []string{s.ou()}}
}

func (s Subject) ou() string {
	if s.Role == swarm.NodeRoleManager {
		return ouManager
	}
	return ouWorker
}

// hosts are the names that the certificate is valid for: the role's and the node's.
func (s Subject) hosts() []string {
	names := []string{s.ou(), s.NodeID}
	if s.Role == swarm.NodeRoleManager {
		names = append(names, "swarm-ca")
	}
	return names
}

// NewRequest makes a key and a request to certify it. Whom it is about, the issuer decides.
func NewRequest() (keyPEM, csrPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make node key: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, nil, fmt.Errorf("make certificate request: %w", err)
	}
	keyPEM, err = encodeKey(key)
	return keyPEM, pem.EncodeToMemory(&pem.Block{Type: typeCSR, Bytes: der}), err
}

// Sign issues a certificate to the key of csrPEM, valid until expiry from now (never longer than the root), and
// returns the chain to present. Nothing of the request but its key is taken over.
func (r *Root) Sign(csrPEM []byte, s Subject, expiry time.Duration, now time.Time) ([]byte, error) {
	if !r.CanSign() {
		return nil, cluster.Errorf(errdefs.ErrFailedPrecondition, "the root CA's key is not in the swarm: only its external CA can issue certificates")
	}
	csr, err := parseRequest(csrPEM)
	if err != nil {
		return nil, err
	}
	until := now.Add(clampExpiry(expiry))
	if until.After(r.Cert.NotAfter) {
		until = r.Cert.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               s.name(),
		DNSNames:              s.hosts(),
		NotBefore:             now.Add(-backdate),
		NotAfter:              until,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, r.Cert, csr.PublicKey, r.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate of node %s: %w", s.NodeID, err)
	}
	return append(encodeCert(der), r.CrossSigned...), nil
}

func parseRequest(csrPEM []byte) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(csrPEM)
	if block == nil || block.Type != typeCSR {
		return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "not a PEM certificate request")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err == nil {
		err = csr.CheckSignature()
	}
	if err != nil {
		return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "certificate request: %v", err)
	}
	return csr, nil
}

func clampExpiry(d time.Duration) time.Duration {
	switch {
	case d == 0:
		return DefaultExpiry
	case d < MinExpiry:
		return MinExpiry
	}
	return d
}
