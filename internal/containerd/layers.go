package containerd

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/containerd/containerd/v2/core/snapshots/storage"
)

// layerRoot is the overlayfs snapshotter's folder: metadata.db names the layers, snapshots/N holds each.
const layerRoot = "root/io.containerd.snapshotter.v1.overlayfs"

// dropStrayLayers removes layer folders that the snapshotter does not know: a containerd that was killed between making
// one and noting it gives its number out again, and fails every time on the folder that is there. Nobody may have the
// metadata open. It returns how many folders went.
func dropStrayLayers(ctx context.Context, root string) (dropped int, err error) {
	dir := filepath.Join(root, layerRoot)
	folders, err := os.ReadDir(filepath.Join(dir, "snapshots"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil // the first start
	}
	if err != nil {
		return 0, err
	}
	meta, err := storage.NewMetaStore(filepath.Join(dir, "metadata.db"))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, meta.Close()) }()
	ctx, tx, err := meta.TransactionContext(ctx, false)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, tx.Rollback()) }()
	known, err := storage.IDMap(ctx)
	if err != nil {
		return 0, err
	}
	for _, f := range folders {
		if _, err := strconv.ParseUint(f.Name(), 10, 64); err != nil || known[f.Name()] != "" {
			continue // what is being made or removed has other names, and containerd clears it up
		}
		if err := os.RemoveAll(filepath.Join(dir, "snapshots", f.Name())); err != nil {
			return dropped, err
		}
		dropped++
	}
	return dropped, nil
}
