package ca

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"iter"
	"time"

	"github.com/containerd/errdefs"

	"shoal/internal/cluster"
)

// Signer returns the root that signs now: the next one during a rotation. It may be unable to sign; see [Root.CanSign].
func Signer(r cluster.RootCA) (*Root, error) {
	if r.Next == nil {
		return ParseRoot(firstCert(r.Cert), r.Key)
	}
	root, err := ParseRoot(r.Next.Cert, r.Next.Key)
	if err == nil {
		root.CrossSigned = r.Next.CrossSigned
	}
	return root, err
}

// StartRotation begins to move the cluster to another root and returns the changed trust: everyone trusts both, new
// certificates come from the next one. A rotation under way is replaced. keyPEM may be empty with an external CA.
func StartRotation(r cluster.RootCA, certPEM, keyPEM []byte, now time.Time) (cluster.RootCA, error) {
	old, err := ParseRoot(firstCert(r.Cert), r.Key)
	if err != nil {
		return r, fmt.Errorf("present root: %w", err)
	}
	next, err := ParseRoot(certPEM, keyPEM)
	if err != nil {
		return r, err
	}
	if err := next.Validate(now); err != nil {
		return r, err
	}
	rotation := &cluster.NextRoot{Cert: next.PEM, Key: keyPEM}
	if old.CanSign() {
		if rotation.CrossSigned, err = old.cross(next, now); err != nil {
			return r, err
		}
	}
	r.Cert = append(bytes.Clone(old.PEM), next.PEM...)
	r.Next = rotation
	return r, nil
}

// FinishRotation drops the old root.
func FinishRotation(r cluster.RootCA) cluster.RootCA {
	if r.Next == nil {
		return r
	}
	return cluster.RootCA{Cert: r.Next.Cert, Key: r.Next.Key}
}

// Rotated says whether every node presents a certificate of the next root, so that the rotation can finish.
func Rotated(r cluster.RootCA, nodes iter.Seq[*cluster.Node]) bool {
	if r.Next == nil {
		return false
	}
	next, err := ParseRoot(r.Next.Cert, nil)
	if err != nil {
		return false
	}
	for n := range nodes {
		if !issuedBy(next.Cert, n.Description.TLSInfo.CertIssuerPublicKey) {
			return false
		}
	}
	return true
}

// Finish completes a rotation whose nodes have all moved: the old root goes, and with it the tokens that name it. It
// returns the changed copy of c, nil when it is not time.
func Finish(c *cluster.Cluster, nodes iter.Seq[*cluster.Node]) (*cluster.Cluster, error) {
	if c == nil || !Rotated(c.Root, nodes) {
		return nil, nil
	}
	done := *c
	done.Root = FinishRotation(c.Root)
	done.RootRotationInProgress = false
	var err error
	if done.JoinTokens.Worker, err = NewToken(done.Root.Cert); err != nil {
		return nil, err
	}
	if done.JoinTokens.Manager, err = NewToken(done.Root.Cert); err != nil {
		return nil, err
	}
	done.TLSInfo, err = ClusterTLSInfo(done.Root)
	return &done, err
}

// MustMove says whether a node whose certificate is leaf should ask for a new one because the bundle of roots, whose
// last one signs, has another signer.
func MustMove(leaf *x509.Certificate, bundle []byte) bool {
	certs, err := ParseCerts(bundle)
	return err == nil && leaf.CheckSignatureFrom(certs[len(certs)-1]) != nil
}

func issuedBy(root *x509.Certificate, key []byte) bool {
	return bytes.Equal(root.RawSubjectPublicKeyInfo, key)
}

// cross signs the next root's key, so that who trusts only the old root accepts what the next one issues.
func (r *Root) cross(next *Root, now time.Time) ([]byte, error) {
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{},
		RawSubject:            next.Cert.RawSubject,
		SubjectKeyId:          next.Cert.SubjectKeyId,
		NotBefore:             now.Add(-backdate),
		NotAfter:              r.Cert.NotAfter,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	if next.Cert.NotAfter.Before(template.NotAfter) {
		template.NotAfter = next.Cert.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, template, r.Cert, next.Cert.PublicKey, r.key)
	if err != nil {
		return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "cross-sign the new root: %v", err)
	}
	return encodeCert(der), nil
}

// firstCert cuts a bundle to its first certificate; what is no bundle stays as it is, for the parser to refuse.
func firstCert(bundle []byte) []byte {
	certs, err := ParseCerts(bundle)
	if err != nil {
		return bundle
	}
	return encodeCert(certs[0].Raw)
}
