package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/ca"
)

// membership is what a node must remember of its swarm beside its certificate. Its file is the mark that the node is a
// member: it is written last when a node joins and removed first when it leaves.
type membership struct {
	NodeID     string
	ListenAddr string         // where a manager takes connections, host:port
	Advertise  netip.AddrPort // where other nodes reach this one
	DataAddr   netip.Addr     // overlay traffic
	Managers   []swarm.Peer   // known at joining; the agent keeps a newer list of its own
	// Alone says that the manager has become its swarm's only one, by recovery or by a backup, and that the store does
	// not know it yet.
	Alone bool `json:",omitempty"`
	// Moved says that the node has another address than the swarm knows.
	Moved bool `json:",omitempty"`
}

// swarmDir is the folder of everything that belongs to the node's membership.
func swarmDir(dataRoot string) string { return filepath.Join(dataRoot, "swarm") }

func stateFile(dataRoot string) string { return filepath.Join(swarmDir(dataRoot), "state.json") }

// certificates is where the node's certificate and keys are.
func certificates(dataRoot string) ca.Files {
	return ca.Files{Dir: filepath.Join(swarmDir(dataRoot), "certificates")}
}

// loadMembership reads the mark; nil: the node is in no swarm. What a broken-off join has left is removed.
func loadMembership(dataRoot string) (*membership, error) {
	b, err := os.ReadFile(stateFile(dataRoot))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, os.RemoveAll(swarmDir(dataRoot))
	}
	if err != nil {
		return nil, err
	}
	m := new(membership)
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("%s: %w", stateFile(dataRoot), err)
	}
	return m, nil
}

func (m *membership) save(dataRoot string) error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	file := stateFile(dataRoot)
	f, err := os.OpenFile(file+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// forgetMembership removes the mark first, so that a daemon killed in the middle is in no swarm when it comes back.
func forgetMembership(dataRoot string) error {
	if err := os.Remove(stateFile(dataRoot)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(swarmDir(dataRoot))
}
