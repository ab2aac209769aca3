package ca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"

	"github.com/containerd/errdefs"

	"shoal/internal/cluster"
)

// RootLife is how long a self-made root is valid.
const RootLife = 20 * 365 * 24 * time.Hour

// backdate is how long before its making a certificate begins, for nodes whose clocks are behind.
const backdate = time.Hour

// Root is a certificate authority that can sign.
type Root struct {
	Cert *x509.Certificate
	// PEM is Cert, and CrossSigned the same key under the root before it, sent along in chains; empty outside a rotation.
	PEM, CrossSigned []byte
	key              crypto.Signer
}

// NewRoot makes a self-signed root, as certificate and PKCS #8 key in PEM.
func NewRoot(now time.Time) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make root key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "swarm-ca"},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(RootLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, fmt.Errorf("make root certificate: %w", err)
	}
	keyPEM, err = encodeKey(key)
	return encodeCert(der), keyPEM, err
}

// ParseRoot reads a root, self-made or the user's. keyPEM may hold PKCS #8, PKCS #1 or SEC 1; empty: the root can
// verify and not sign. The certificate must be one CA certificate, and the key must be its key.
func ParseRoot(certPEM, keyPEM []byte) (*Root, error) {
	certs, err := ParseCerts(certPEM)
	if err != nil {
		return nil, fmt.Errorf("root CA certificate: %w", err)
	}
	r := &Root{Cert: certs[0], PEM: encodeCert(certs[0].Raw)}
	if !r.Cert.IsCA {
		return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "root CA certificate %q is not a CA certificate", r.Cert.Subject)
	}
	if len(keyPEM) == 0 {
		return r, nil
	}
	if r.key, err = ParseKey(keyPEM); err != nil {
		return nil, fmt.Errorf("root CA key: %w", err)
	}
	if !samePublic(r.Cert.PublicKey, r.key.Public()) {
		return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "root CA key does not match root CA certificate")
	}
	return r, nil
}

// Validate says whether now lies in the root's life.
func (r *Root) Validate(now time.Time) error {
	if now.Before(r.Cert.NotBefore) || now.After(r.Cert.NotAfter) {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "root CA certificate is valid from %s to %s only",
			r.Cert.NotBefore.Format(time.RFC3339), r.Cert.NotAfter.Format(time.RFC3339))
	}
	return nil
}

// CanSign says whether the root's key is here.
func (r *Root) CanSign() bool { return r.key != nil }

// ParseCerts reads one or more PEM certificates and nothing else.
func ParseCerts(b []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for len(bytes.TrimSpace(b)) > 0 {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil || block.Type != typeCert {
			return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "not a PEM certificate")
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "not a certificate: %v", err)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "no certificate in the PEM text")
	}
	return certs, nil
}

// ParseKey reads a PEM private key: PKCS #8, SEC 1 or PKCS #1.
func ParseKey(b []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "not a PEM private key")
	}
	if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		if signer, ok := key.(crypto.Signer); ok {
			return signer, nil
		}
	}
	if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "not a private key of a known form (PKCS #8, SEC 1, PKCS #1)")
}

// PEM block types.
const (
	typeCert = "CERTIFICATE"
	typeKey  = "PRIVATE KEY"
	typeCSR  = "CERTIFICATE REQUEST"
)

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: typeCert, Bytes: der})
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: typeKey, Bytes: der}), nil
}

func samePublic(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

func serial() *big.Int {
	var b [16]byte
	rand.Read(b[:]) // never fails since Go 1.24
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b[:])
}
