package ca

import (
	"crypto/rand"

	"golang.org/x/crypto/chacha20poly1305"
)

// seal closes a secret with XChaCha20-Poly1305; what it is for is bound into it. The nonce stands in front.
func seal(key []byte, kind string, plain []byte) ([]byte, error) {
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+len(plain)+aead.Overhead())
	rand.Read(nonce) // never fails since Go 1.24
	return aead.Seal(nonce, nonce, plain, []byte(kind)), nil
}

func open(key []byte, kind string, closed []byte) ([]byte, error) {
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, err
	}
	if len(closed) < aead.NonceSize() {
		return nil, ErrLocked
	}
	return aead.Open(nil, closed[:aead.NonceSize()], closed[aead.NonceSize():], []byte(kind))
}
