package shim

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"shoal/internal/shim/wire"
)

// recordExit writes the exit record, once. It is called by whoever learns of the end first: the event on its way to
// containerd, a Wait or a Delete.
func (k *keeper) recordExit(code uint32, at time.Time) {
	k.exitOnce.Do(func() {
		k.ended.Store(true)
		if k.order.Exit == "" {
			return
		}
		b, err := json.Marshal(wire.Exit{Code: code, FinishedAt: at.UTC(), LogDropped: k.log.lost(), OOM: k.sawOOM() || oomKills("/sys/fs/cgroup", k.order.Cgroup) > 0})
		if err != nil {
			return
		}
		if os.WriteFile(k.order.Exit+".tmp", b, 0o600) == nil {
			_ = os.Rename(k.order.Exit+".tmp", k.order.Exit) // without the record the exit is reported as unknown
		}
	})
}

func (k *keeper) noteOOM() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.oom = true
}

func (k *keeper) sawOOM() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.oom
}

// oomKills reads how many processes of a cgroup the kernel has killed for memory; 0 when it cannot tell. The event
// that says the same may come after the exit, the counter cannot. Version 1 has it in memory.oom_control (since Linux
// 4.13), version 2 in memory.events.
func oomKills(root, cgroup string) int {
	if cgroup == "" {
		return 0
	}
	for _, file := range []string{
		filepath.Join(root, "memory", cgroup, "memory.oom_control"),
		filepath.Join(root, cgroup, "memory.events"),
	} {
		f, err := os.Open(file)
		if err != nil {
			continue
		}
		defer f.Close()
		for sc := bufio.NewScanner(f); sc.Scan(); {
			if v, ok := strings.CutPrefix(sc.Text(), "oom_kill "); ok {
				n, _ := strconv.Atoi(v)
				return n
			}
		}
	}
	return 0
}
