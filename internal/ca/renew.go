package ca

import (
	"crypto/x509"
	"time"
)

// RenewAt is when to renew a certificate: at a point between 50 % and 80 % of its life, chosen by random in [0, 1), so
// that nodes that joined together do not renew together.
func RenewAt(cert *x509.Certificate, random float64) time.Time {
	begin := cert.NotBefore.Add(backdate)
	life := cert.NotAfter.Sub(begin)
	if life <= 0 {
		return cert.NotAfter
	}
	return begin.Add(time.Duration(float64(life) * (0.5 + 0.3*random)))
}
