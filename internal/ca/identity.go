package ca

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// Identity is a node's certificate, key and trusted roots in use. TLS configurations made from it read the newest at
// every handshake. All methods may be called concurrently.
type Identity struct {
	mu      sync.Mutex
	now     held
	changed chan struct{}
}

// held is one state of an identity; it never changes.
type held struct {
	bundle  Bundle
	subject Subject
	cert    *tls.Certificate
	roots   *x509.CertPool
}

// NewIdentity puts a bundle in use.
func NewIdentity(b Bundle) (*Identity, error) {
	h, err := hold(b)
	if err != nil {
		return nil, err
	}
	return &Identity{now: h, changed: make(chan struct{})}, nil
}

func hold(b Bundle) (held, error) {
	pair, err := tls.X509KeyPair(b.Chain, b.Key)
	if err != nil {
		return held{}, cluster.Errorf(errdefs.ErrInvalidArgument, "node certificate and key: %v", err)
	}
	subject, err := SubjectOf(pair.Leaf)
	if err != nil {
		return held{}, err
	}
	roots, err := pool(b.Root)
	if err != nil {
		return held{}, fmt.Errorf("trusted roots: %w", err)
	}
	return held{bundle: b, subject: subject, cert: &pair, roots: roots}, nil
}

// Set replaces the bundle. After an error the old one stays in use.
func (i *Identity) Set(b Bundle) error {
	h, err := hold(b)
	if err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if h.subject.NodeID != i.now.subject.NodeID || h.subject.ClusterID != i.now.subject.ClusterID {
		return cluster.Errorf(errdefs.ErrInvalidArgument, "certificate is for node %s of swarm %s", h.subject.NodeID, h.subject.ClusterID)
	}
	i.now = h
	close(i.changed)
	i.changed = make(chan struct{})
	return nil
}

// SetRoot replaces the trusted roots alone and says whether they are others than before.
func (i *Identity) SetRoot(rootPEM []byte) (changed bool, err error) {
	b := i.Bundle()
	if bytes.Equal(b.Root, rootPEM) {
		return false, nil
	}
	b.Root = rootPEM
	return true, i.Set(b)
}

// Bundle returns what is in use.
func (i *Identity) Bundle() Bundle { return i.held().bundle }

// Subject returns whom the certificate in use is about: the node, the cluster and the role that it may act in.
func (i *Identity) Subject() Subject { return i.held().subject }

// Leaf returns the certificate in use.
func (i *Identity) Leaf() *x509.Certificate { return i.held().cert.Leaf }

// Changed returns a channel that is closed at the next Set: ask for it first, then look at the identity.
func (i *Identity) Changed() <-chan struct{} {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.changed
}

func (i *Identity) held() held {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.now
}

// TLSInfo is the node's trust as the API shows it: by the issuer a root rotation sees who has moved.
func (i *Identity) TLSInfo() swarm.TLSInfo {
	h := i.held()
	info := swarm.TLSInfo{TrustRoot: string(h.bundle.Root), CertIssuerSubject: h.cert.Leaf.RawIssuer}
	if issuer := issuerOf(h.cert.Leaf, h.bundle); issuer != nil {
		info.CertIssuerPublicKey = issuer.RawSubjectPublicKeyInfo
	}
	return info
}

// issuerOf finds who signed leaf among the roots and the chain.
func issuerOf(leaf *x509.Certificate, b Bundle) *x509.Certificate {
	for _, text := range [][]byte{b.Root, b.Chain} {
		certs, err := ParseCerts(text)
		if err != nil {
			continue
		}
		for _, c := range certs {
			if c.IsCA && leaf.CheckSignatureFrom(c) == nil {
				return c
			}
		}
	}
	return nil
}

func pool(rootPEM []byte) (*x509.CertPool, error) {
	certs, err := ParseCerts(rootPEM)
	if err != nil {
		return nil, err
	}
	p := x509.NewCertPool()
	for _, c := range certs {
		p.AddCert(c)
	}
	return p, nil
}
