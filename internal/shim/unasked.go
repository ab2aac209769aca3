package shim

import (
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/pkg/shutdown"
)

// unaskedLook is how often a shim without a container looks whether it is still wanted.
const unaskedLook = time.Second

// ender ends the shim: in good order once it serves, else at once.
type ender struct {
	service atomic.Pointer[shutdown.Service]
}

func (e *ender) end() {
	if s := e.service.Load(); s != nil {
		(*s).Shutdown()
		return
	}
	os.Exit(1) // it waits for a reader of its log, which will never come
}

// serves says whether these are the arguments of the process that stays, not of the calls that start it or clear up after it.
func serves(args []string) bool {
	return slices.Contains(args, "-id") && !slices.Contains(args, "start") && !slices.Contains(args, "delete")
}

// endUnasked ends a shim that nobody knows: containerd was killed between starting it and noting its address, and has
// removed the bundle at its own next start without finding the shim. Once a container was asked for, containerd knows
// the address and clears up by itself. The bundle is the shim's working folder, so a later one by the same path is not
// mistaken for it.
func endUnasked(bundle string, asked <-chan struct{}, end func()) {
	look := time.NewTicker(unaskedLook)
	defer look.Stop()
	for {
		select {
		case <-asked:
			return
		case <-look.C:
		}
		if _, err := os.Stat(filepath.Join(bundle, "config.json")); os.IsNotExist(err) {
			end()
			return
		}
	}
}
