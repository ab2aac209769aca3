package cluster

import (
	"crypto/rand"
	"math/big"
	"strings"
)

// idLen is the length of an object ID: 25 characters of base 36, as tools that parse Swarm's expect.
const idLen = 25

// NewID returns a random object ID: 25 characters of [0-9a-z], about 124 bits of them random.
func NewID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails since Go 1.24
	return Base36(b[:], idLen)
}

// Base36 writes b as one big-endian number in base 36, left-padded with zeros to width characters and cut to the
// lowest width digits.
func Base36(b []byte, width int) string {
	s := new(big.Int).SetBytes(b).Text(36)
	if len(s) >= width {
		return s[len(s)-width:]
	}
	return strings.Repeat("0", width-len(s)) + s
}
