package ca

import (
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// NewCluster fills in the trust of a cluster being made: its root (a self-made one when certPEM is empty) and the two
// join tokens.
func NewCluster(c *cluster.Cluster, certPEM, keyPEM []byte, now time.Time) error {
	var err error
	if len(certPEM) == 0 {
		if certPEM, keyPEM, err = NewRoot(now); err != nil {
			return err
		}
	}
	root, err := ParseRoot(certPEM, keyPEM)
	if err != nil {
		return err
	}
	c.Root = cluster.RootCA{Cert: root.PEM, Key: keyPEM}
	if c.JoinTokens.Worker, err = NewToken(c.Root.Cert); err != nil {
		return err
	}
	if c.JoinTokens.Manager, err = NewToken(c.Root.Cert); err != nil {
		return err
	}
	c.TLSInfo, err = ClusterTLSInfo(c.Root)
	return err
}

// ClusterTLSInfo is a root as the API shows it.
func ClusterTLSInfo(r cluster.RootCA) (swarm.TLSInfo, error) {
	certs, err := ParseCerts(r.Cert)
	if err != nil {
		return swarm.TLSInfo{}, err
	}
	return swarm.TLSInfo{
		TrustRoot:           string(encodeCert(certs[0].Raw)),
		CertIssuerSubject:   certs[0].RawSubject,
		CertIssuerPublicKey: certs[0].RawSubjectPublicKeyInfo,
	}, nil
}

// Admit says which role a join token gives in this cluster; false: none.
func Admit(c *cluster.Cluster, token string) (swarm.NodeRole, bool) {
	manager, worker := SameToken(c.JoinTokens.Manager, token), SameToken(c.JoinTokens.Worker, token)
	switch {
	case manager:
		return swarm.NodeRoleManager, true
	case worker:
		return swarm.NodeRoleWorker, true
	}
	return "", false
}
