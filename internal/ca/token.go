package ca

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"strings"

	"github.com/containerd/errdefs"

	"shoal/internal/cluster"
)

const (
	tokenPrefix  = "SWMTKN-1-"
	unlockPrefix = "SWMKEY-1-"
	digestLen    = 50
	secretLen    = 25
)

// Token is a join token: who holds it may get a certificate of the role whose secret it has, from the cluster whose
// root has that digest and no other.
type Token struct {
	Digest string // of the root certificate; 50 characters of base 36
	Secret string // 25 characters of base 36
}

// NewToken returns a token with a fresh secret for the cluster with that root, in the form users type.
func NewToken(rootPEM []byte) (string, error) {
	digest, err := Digest(rootPEM)
	if err != nil {
		return "", err
	}
	var b [16]byte
	rand.Read(b[:]) // never fails since Go 1.24
	return Token{digest, cluster.Base36(b[:], secretLen)}.String(), nil
}

// ParseToken reads what NewToken made.
func ParseToken(s string) (Token, error) {
	rest, ok := strings.CutPrefix(s, tokenPrefix)
	digest, secret, two := strings.Cut(rest, "-")
	if !ok || !two || len(digest) != digestLen || len(secret) != secretLen || !base36(digest) || !base36(secret) {
		return Token{}, cluster.Errorf(errdefs.ErrInvalidArgument, "invalid join token")
	}
	return Token{digest, secret}, nil
}

func (t Token) String() string { return tokenPrefix + t.Digest + "-" + t.Secret }

// SameToken compares two tokens in a time that does not depend on where they differ. An empty one equals nothing.
func SameToken(a, b string) bool {
	return a != "" && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}

// Digest is what a token says of the root certificate: the SHA-256 of its DER form, in base 36.
func Digest(rootPEM []byte) (string, error) {
	certs, err := ParseCerts(rootPEM)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(certs[0].Raw)
	return cluster.Base36(sum[:], digestLen), nil
}

// Trusted returns the certificate of bundle that the token's digest names; the error says that none is it.
func (t Token) Trusted(bundle []byte) ([]byte, error) {
	certs, err := ParseCerts(bundle)
	if err != nil {
		return nil, err
	}
	for _, cert := range certs {
		sum := sha256.Sum256(cert.Raw)
		if subtle.ConstantTimeCompare([]byte(cluster.Base36(sum[:], digestLen)), []byte(t.Digest)) == 1 {
			return encodeCert(cert.Raw), nil
		}
	}
	return nil, cluster.Errorf(errdefs.ErrPermissionDenied,
		"remote CA does not match fingerprint. Expected: %s: the join token belongs to another swarm", t.Digest)
}

// NewUnlockKey returns 32 random bytes to seal a manager's secrets with.
func NewUnlockKey() []byte {
	b := make([]byte, 32)
	rand.Read(b) // never fails since Go 1.24
	return b
}

// SameKey compares two unlock keys in a time that does not depend on where they differ; two empty ones are the same.
func SameKey(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }

// FormatUnlockKey writes an unlock key as users type it; empty for none.
func FormatUnlockKey(key []byte) string {
	if len(key) == 0 {
		return ""
	}
	return unlockPrefix + base64.RawStdEncoding.EncodeToString(key)
}

// ParseUnlockKey reads what FormatUnlockKey wrote.
func ParseUnlockKey(s string) ([]byte, error) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(s), unlockPrefix)
	key, err := base64.RawStdEncoding.DecodeString(rest)
	if !ok || err != nil || len(key) != 32 {
		return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "invalid key: an unlock key has the form %s…", unlockPrefix)
	}
	return key, nil
}

func base36(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'z') })
}
