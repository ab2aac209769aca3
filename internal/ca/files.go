package ca

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"

	"shoal/internal/cluster"
)

// Bundle is all that a node holds of trust and secrets.
type Bundle struct {
	Chain []byte // PEM: the node's certificate and what links it to a root
	Key   []byte // PEM, PKCS #8
	Root  []byte // PEM: the roots that it trusts
	// DataKey seals the Raft log and snapshots; nil on a node that never was a manager.
	DataKey []byte
}

// ErrLocked says that the node's secrets are sealed and the unlock key is needed (or was wrong). The sentence is
// Docker's, which clients match on.
var ErrLocked = cluster.Errorf(errdefs.ErrFailedPrecondition, "Swarm is encrypted and needs to be unlocked before it can be used. Please use \"docker swarm unlock\" to unlock it.")

// Files is where a node keeps its [Bundle]: root.pem, and node.pem with everything else, which is one file so that
// certificate and key can never be of different renewals. Keys lie in it sealed while autolock is on, as PEM otherwise.
type Files struct{ Dir string }

const (
	nodeFile    = "node.pem"
	rootFile    = "root.pem"
	typeDataKey = "SHOAL DATA KEY"
	sealed      = "SEALED " // before the type of a block that is sealed
)

// Load reads the bundle. unlockKey may be nil. Without files the error is of class not found; when what is there is
// sealed and unlockKey does not open it, the error is [ErrLocked] and the bundle has no keys but the rest.
func (f Files) Load(unlockKey []byte) (Bundle, error) {
	var b Bundle
	text, err := os.ReadFile(filepath.Join(f.Dir, nodeFile))
	if errors.Is(err, fs.ErrNotExist) {
		return b, cluster.Errorf(errdefs.ErrNotFound, "this node has no certificate")
	}
	if err != nil {
		return b, fmt.Errorf("read node certificate: %w", err)
	}
	if b.Root, err = os.ReadFile(filepath.Join(f.Dir, rootFile)); err != nil {
		return b, fmt.Errorf("read root certificate: %w", err)
	}
	locked := false
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if kind, ok := bytes.CutPrefix([]byte(block.Type), []byte(sealed)); ok {
			plain, err := open(unlockKey, string(kind), block.Bytes)
			if err != nil {
				locked = true
				continue
			}
			block = &pem.Block{Type: string(kind), Bytes: plain}
		}
		switch block.Type {
		case typeCert:
			b.Chain = append(b.Chain, pem.EncodeToMemory(block)...)
		case typeKey:
			b.Key = pem.EncodeToMemory(block)
		case typeDataKey:
			b.DataKey = block.Bytes
		}
	}
	if locked {
		b.Key, b.DataKey = nil, nil
		return b, ErrLocked
	}
	if len(b.Chain) == 0 || len(b.Key) == 0 {
		return b, cluster.Errorf(errdefs.ErrDataLoss, "%s holds no certificate or no key", filepath.Join(f.Dir, nodeFile))
	}
	return b, nil
}

// Save writes the bundle, its keys sealed with unlockKey when that is not nil. After an error or a crash either the
// old bundle is there or the new one; the roots alone may be newer.
func (f Files) Save(b Bundle, unlockKey []byte) error {
	text, err := b.Text(unlockKey)
	if err != nil {
		return fmt.Errorf("save node certificate: %w", err)
	}
	return f.SaveText(text, b.Root)
}

// SaveText writes what [Bundle.Text] has made, and the roots; Load reads it as what Save has written.
func (f Files) SaveText(text, root []byte) error {
	if err := os.MkdirAll(f.Dir, 0o700); err != nil {
		return fmt.Errorf("save node certificate: %w", err)
	}
	if err := writeFile(filepath.Join(f.Dir, rootFile), root, 0o644); err != nil {
		return fmt.Errorf("save root certificate: %w", err)
	}
	if err := writeFile(filepath.Join(f.Dir, nodeFile), text, 0o600); err != nil {
		return fmt.Errorf("save node certificate: %w", err)
	}
	return nil
}

// Text is everything but the roots in one text, the keys sealed with unlockKey when that is not nil.
func (b Bundle) Text(unlockKey []byte) ([]byte, error) {
	key, _ := pem.Decode(b.Key)
	if key == nil {
		return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "the node's key is not PEM")
	}
	text := bytes.Clone(b.Chain)
	for _, block := range []*pem.Block{key, {Type: typeDataKey, Bytes: b.DataKey}} {
		if len(block.Bytes) == 0 {
			continue
		}
		if unlockKey != nil {
			closed, err := seal(unlockKey, block.Type, block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("seal node key: %w", err)
			}
			block = &pem.Block{Type: sealed + block.Type, Bytes: closed}
		}
		text = append(text, pem.EncodeToMemory(block)...)
	}
	return text, nil
}

// Remove forgets the node's identity.
func (f Files) Remove() error {
	return errors.Join(ignoreMissing(os.Remove(filepath.Join(f.Dir, nodeFile))), ignoreMissing(os.Remove(filepath.Join(f.Dir, rootFile))))
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// writeFile replaces path in one step: after a crash it is the old file or the new one, never a part.
func writeFile(path string, b []byte, mode fs.FileMode) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(tmp.Name())
		}
	}()
	_, err = tmp.Write(b)
	err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
