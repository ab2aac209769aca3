package raftstore

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	"github.com/hashicorp/raft"
	"golang.org/x/crypto/chacha20poly1305"

	"shoal/internal/cluster"
)

// Sealer encrypts the log and the snapshots on disk with XChaCha20-Poly1305 under the data key. It is safe for
// concurrent use.
//
// A log entry is sealed as random nonce (24 bytes), ciphertext; its index, term and type are authenticated with it, so
// that no entry can stand in for another. A snapshot is sealed in chunks: see sealWriter.
//
// Not hidden: sizes, times of writing, Raft's term and vote. Not prevented: putting back an older copy of the whole
// directory.
type Sealer struct{ aead cipher.AEAD }

// NewSealer returns a Sealer with that data key. Keeping the key is for the caller.
func NewSealer(key [32]byte) *Sealer {
	aead, err := chacha20poly1305.NewX(key[:])
	if err != nil {
		panic(err) // only for a key of another length
	}
	return &Sealer{aead}
}

var errUnsealed = cluster.Errorf(errdefs.ErrPermissionDenied, "the swarm's log cannot be read with this key, or it was tampered with")

// seal returns nonce and ciphertext of plain.
func (s *Sealer) seal(plain, bound []byte) []byte {
	nonce := make([]byte, chacha20poly1305.NonceSizeX, chacha20poly1305.NonceSizeX+len(plain)+chacha20poly1305.Overhead)
	rand.Read(nonce) // never fails since Go 1.24
	return s.aead.Seal(nonce, nonce, plain, bound)
}

func (s *Sealer) open(sealed, bound []byte) ([]byte, error) {
	if len(sealed) < chacha20poly1305.NonceSizeX {
		return nil, errUnsealed
	}
	nonce, sealed := sealed[:chacha20poly1305.NonceSizeX], sealed[chacha20poly1305.NonceSizeX:]
	plain, err := s.aead.Open(nil, nonce, sealed, bound)
	if err != nil {
		return nil, errUnsealed
	}
	return plain, nil
}

// sealLog returns a sealed copy of l. Raft goes on using l.
func (s *Sealer) sealLog(l *raft.Log) *raft.Log {
	sealed := *l
	sealed.Data = s.seal(l.Data, logPlace(l))
	if l.Extensions != nil {
		sealed.Extensions = s.seal(l.Extensions, logPlace(l))
	}
	return &sealed
}

// openLog opens l in place.
func (s *Sealer) openLog(l *raft.Log) (err error) {
	if l.Data, err = s.open(l.Data, logPlace(l)); err != nil {
		return fmt.Errorf("log entry %d: %w", l.Index, err)
	}
	if len(l.Extensions) > 0 {
		l.Extensions, err = s.open(l.Extensions, logPlace(l))
	}
	return err
}

// logPlace is what an entry's seal is bound to.
func logPlace(l *raft.Log) []byte {
	b := make([]byte, 0, 17)
	b = binary.BigEndian.AppendUint64(b, l.Index)
	b = binary.BigEndian.AppendUint64(b, l.Term)
	return append(b, byte(l.Type))
}

// The marker says whether what is in a directory is sealed: it holds a known text, sealed with the data key, or nothing.
const (
	markerFile = "sealed"
	markerText = "shoal raft data key"
)

// checkSeal refuses a key that is not the directory's, and marks a new directory.
func checkSeal(dir string, s *Sealer) error {
	path := filepath.Join(dir, markerFile)
	marker, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return mark(dir, path, s)
	}
	if err != nil {
		return err
	}
	switch {
	case len(marker) == 0 && s == nil:
		return nil
	case len(marker) == 0:
		return cluster.Errorf(errdefs.ErrFailedPrecondition, "%s is not sealed, but a key was given", dir)
	case s == nil:
		return cluster.Errorf(errdefs.ErrPermissionDenied, "%s is sealed, and no key was given", dir)
	}
	text, err := s.open(marker, nil)
	if err != nil || !bytes.Equal(text, []byte(markerText)) {
		return errUnsealed
	}
	return nil
}

// mark writes the marker of a new directory: whole or not at all, since a node without it would take sealed entries for
// plain ones.
func mark(dir, path string, s *Sealer) error {
	var marker []byte
	if s != nil {
		marker = s.seal([]byte(markerText), nil)
	}
	return writeMarker(dir, path, marker)
}

func writeMarker(dir, path string, marker []byte) error {
	tmp, err := os.CreateTemp(dir, markerFile+"-*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(marker)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
