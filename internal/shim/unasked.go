package shim

import (
	"os"
	"path/filepath"
	"time"
)

// unaskedLook is how often a shim without a container looks whether it is still wanted.
const unaskedLook = time.Second

// shutdowner is the part of containerd's shutdown service that ends the shim.
type shutdowner interface {
	Shutdown()
	Done() <-chan struct{}
}

// endUnasked ends a shim that nobody knows: containerd was killed between starting it and noting its address, and has
// removed the bundle at its own next start without finding the shim. Once a container was asked for, containerd knows
// the address and clears up by itself. The bundle is the shim's working folder, so a later one by the same path is not
// mistaken for it.
func endUnasked(bundle string, asked <-chan struct{}, down shutdowner) {
	look := time.NewTicker(unaskedLook)
	defer look.Stop()
	for {
		select {
		case <-asked:
			return
		case <-down.Done():
			return
		case <-look.C:
		}
		if _, err := os.Stat(filepath.Join(bundle, "config.json")); os.IsNotExist(err) {
			down.Shutdown()
			return
		}
	}
}
