package daemon

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/api"
	"shoal/internal/backup"
	"shoal/internal/ca"
	"shoal/internal/cluster"
	"shoal/internal/raftstore"
	"shoal/internal/store"
)

// Restore makes this machine, which is in no swarm, the only manager of the swarm in a backup. All of the file is read
// and checked before anything of it takes effect, and that is one rename.
func (n *node) Restore(ctx context.Context, file io.Reader, where api.RestoreRequest) (api.Restored, error) {
	n.verbs.Lock()
	defer n.verbs.Unlock()
	if err := n.inactive(); err != nil {
		return api.Restored{}, err
	}
	r, err := backup.NewReader(file)
	if errdefs.IsDataLoss(err) {
		err = cluster.Errorf(errdefs.ErrInvalidArgument, "nothing is restored: %v", err)
	}
	if err != nil {
		return api.Restored{}, err
	}
	ms, err := n.restored(r.Header, where)
	if err != nil {
		return api.Restored{}, err
	}
	dir, err := os.MkdirTemp(n.cfg.DataRoot, unpacking)
	if err != nil {
		return api.Restored{}, err
	}
	defer os.RemoveAll(dir) // of what was not renamed
	if err := unpack(dir, r, ms); err != nil {
		if errdefs.IsDataLoss(err) || errdefs.IsPermissionDenied(err) { // of the file, not of this node
			err = cluster.Errorf(errdefs.ErrInvalidArgument, "nothing is restored: %v", err)
		}
		return api.Restored{}, err
	}
	if err := os.RemoveAll(swarmDir(n.cfg.DataRoot)); err != nil { // left over by a broken-off join: it has no mark
		return api.Restored{}, err
	}
	if err := os.Rename(swarmDir(dir), swarmDir(n.cfg.DataRoot)); err != nil {
		return api.Restored{}, err
	}
	n.log.Info("swarm restored from a backup", "swarm", r.Header.ClusterID, "made", r.Header.Created, "by", r.Header.Hostname)
	if err := n.resume(ms, nil); err != nil { // as after a restart, when it is tried again
		return api.Restored{}, fmt.Errorf("the backup is unpacked, but the swarm does not start: %w", err)
	}
	out := api.Restored{
		NodeID: ms.NodeID, ClusterID: r.Header.ClusterID, Created: r.Header.Created, Hostname: r.Header.Hostname,
		Advertise: ms.Advertise.String(), Was: r.Header.Advertise, Locked: n.localState() == swarm.LocalNodeStateLocked,
	}
	if !out.Locked {
		out.Lost = n.lostManagers()
		n.startAgent()
	}
	return out, nil
}

// unpacking is the pattern of the folders that backups are unpacked in.
const unpacking = "restore-*"

// removeUnpacked removes what a daemon that was killed in the middle of a restore has left.
func removeUnpacked(dataRoot string) error {
	dirs, err := filepath.Glob(filepath.Join(dataRoot, unpacking))
	for _, dir := range dirs {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// restored is the membership that a backup's manager goes on with on this machine.
func (n *node) restored(h backup.Header, where api.RestoreRequest) (*membership, error) {
	was := new(membership)
	if err := json.Unmarshal(h.Membership, was); err != nil || was.NodeID == "" {
		return nil, cluster.Errorf(errdefs.ErrDataLoss, "the backup's header is damaged: it names no manager")
	}
	all, err := links()
	if err != nil {
		return nil, err
	}
	if where.ListenAddr == "" {
		where.ListenAddr = listenAgain(was.ListenAddr, all)
	}
	if where.AdvertiseAddr == "" {
		where.AdvertiseAddr = cmp.Or(n.cfg.MoveTo, n.cfg.Advertise)
	}
	if where.AdvertiseAddr == "" && has(all, was.Advertise.Addr()) { // the machine has the old address
		where.AdvertiseAddr = was.Advertise.String()
		if where.DataPathAddr == "" && has(all, was.DataAddr) {
			where.DataPathAddr = was.DataAddr.String()
		}
	}
	ms, err := n.addresses(where.ListenAddr, where.AdvertiseAddr, where.DataPathAddr)
	if err != nil {
		return nil, err
	}
	ms.NodeID, ms.Alone = was.NodeID, true
	return ms, nil
}

// listenAgain is where a node listens that listened at addr: on every address, when this machine has not that one.
func listenAgain(addr string, all []link) string {
	was, err := netip.ParseAddrPort(addr)
	if err != nil || was.Addr().IsUnspecified() || was.Addr().IsLoopback() || has(all, was.Addr()) {
		return addr
	}
	return netip.AddrPortFrom(netip.IPv4Unspecified(), was.Port()).String()
}

// unpack makes a data root's swarm folder below dir; the mark in it comes last, though the rename is what counts.
func unpack(dir string, r *backup.Reader, ms *membership) error {
	if err := os.MkdirAll(swarmDir(dir), 0o700); err != nil {
		return err
	}
	files := certificates(dir)
	if err := files.SaveText(r.Header.Certificate, r.Header.Roots); err != nil {
		return err
	}
	bundle, err := files.Load(nil)
	var seal *raftstore.Sealer
	switch {
	case errors.Is(err, ca.ErrLocked):
	case err != nil:
		return err
	case len(bundle.DataKey) != 32:
		return cluster.Errorf(errdefs.ErrDataLoss, "the backup has no key for its state")
	default:
		seal = raftstore.NewSealer([32]byte(bundle.DataKey))
	}
	// The end of the file is where its checksum is: the import must read up to it, even of a state that it finds good.
	if err := raftstore.Import(raftDir(dir), ms.NodeID, ms.Advertise.String(), seal, r.Header.Raft, r, nil); err != nil {
		return err
	}
	return ms.save(dir)
}

// lostManagers are the hostnames of the managers that a swarm had beside this node.
func (n *node) lostManagers() []string {
	var names []string
	for other := range store.Nodes.All(n.managing.store.View()) {
		if other.Status.Message == lostMessage {
			names = append(names, other.Description.Hostname)
		}
	}
	return names
}
