package shim

import (
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/pkg/shutdown"
)

// unaskedLook is how often a shim looks whether it is still wanted.
const unaskedLook = time.Second

// ender ends the shim: in good order once it serves, else at once.
type ender struct {
	down    atomic.Pointer[shutdown.Service]
	service atomic.Pointer[service]
}

// busy says whether a process of the container lives.
func (e *ender) busy() bool {
	s := e.service.Load()
	return s != nil && s.busy()
}

func (e *ender) end() {
	if s := e.service.Load(); s != nil {
		s.release()
	}
	if s := e.down.Load(); s != nil {
		(*s).Shutdown()
		return
	}
	os.Exit(1) // it waits for a reader of its log, which will never come
}

// serves says whether these are the arguments of the process that stays, not of the calls that start it or clear up after it.
func serves(args []string) bool {
	return slices.Contains(args, "-id") && !slices.Contains(args, "start") && !slices.Contains(args, "delete")
}

// endUnasked ends a shim that nobody knows any more. containerd was killed between starting it and noting its address, or
// while it made the container, and at its own next start has cleared up without finding the shim: the bundle is gone, and
// with it every way to ask for anything. While a process of the container lives (busy), the shim stays with it. The bundle
// is the shim's working folder, so a later one by the same path is not mistaken for it.
func endUnasked(bundle string, busy func() bool, done <-chan struct{}, end func()) {
	look := time.NewTicker(unaskedLook)
	defer look.Stop()
	for {
		select {
		case <-done:
			return
		case <-look.C:
		}
		if _, err := os.Stat(filepath.Join(bundle, "config.json")); os.IsNotExist(err) && !busy() {
			end()
			return
		}
	}
}
