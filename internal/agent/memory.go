package agent

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// memory is what an agent keeps on disk: no secrets, no registry credentials, nothing that the manager could not tell
// again. It is replaced in one step and not synced: after a power cut an older one, or none, does.
type memory struct {
	Managers []swarm.Peer
	Node     *cluster.Node        `json:",omitempty"`
	Period   time.Duration        `json:",omitempty"`
	Tasks    []cluster.Assignment `json:",omitempty"`
}

const memoryFile = "agent.cbor"

// readMemory returns an empty memory when there is none.
func readMemory(dir string) (m memory, err error) {
	if dir == "" {
		return m, nil
	}
	b, err := os.ReadFile(filepath.Join(dir, memoryFile))
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	return m, cluster.Unmarshal(b, &m)
}

func writeMemory(dir string, m memory) error {
	for i := range m.Tasks {
		m.Tasks[i].RegistryAuth = ""
	}
	b, err := cluster.Marshal(m)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tmp := filepath.Join(dir, memoryFile+".new")
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, memoryFile))
}

func removeMemory(dir string) error {
	if dir == "" {
		return nil
	}
	err := os.Remove(filepath.Join(dir, memoryFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// remember writes the memory whenever it changes, until ctx ends; changes during a write are one more write.
func (a *Agent) remember(ctx context.Context) {
	for {
		changed := a.Changed()
		select {
		case <-changed:
		case <-a.tasks.changed:
		case <-ctx.Done():
			return
		}
		if a.config.Dir == "" {
			continue
		}
		state := a.State()
		m := memory{Managers: state.Managers, Node: state.Node, Period: a.heartbeatPeriod(), Tasks: a.tasks.assignments()}
		if err := writeMemory(a.config.Dir, m); err != nil {
			a.log.Warn("the agent's memory cannot be written; after a restart the manager must tell", "err", err)
		}
	}
}
