package playground

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Pause stops every process of the machine at once, containers too, and returns when none runs any more. It is what a hypervisor
// does to a machine that it moves: nothing answers, connections stay, and the clock goes on.
func (m *Machine) Pause() error {
	if !m.On() {
		return fmt.Errorf("machine %s is off", m.Name)
	}
	return m.freeze(true)
}

// Resume lets a paused machine go on. One that is not paused is left as it is.
func (m *Machine) Resume() error { return m.freeze(false) }

// Paused says whether the machine is paused.
func (m *Machine) Paused() bool {
	file, v2, err := m.freezer()
	if err != nil {
		return false
	}
	b, err := os.ReadFile(file)
	word := strings.TrimSpace(string(b))
	return err == nil && (v2 && word == "1" || !v2 && word != "THAWED")
}

// freezeTime bounds how long a machine may take to stand still: a process in the middle of a disk operation stops behind it.
const freezeTime = 20 * time.Second

func (m *Machine) freeze(stop bool) error {
	file, v2, err := m.freezer()
	if err != nil {
		return err
	}
	word, state, done := "THAWED", file, "THAWED"
	if stop {
		word, done = "FROZEN", "FROZEN"
	}
	if v2 {
		word, state, done = "0", filepath.Join(filepath.Dir(file), "cgroup.events"), "frozen 0"
		if stop {
			word, done = "1", "frozen 1"
		}
	}
	deadline := time.After(freezeTime)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		// Version 1 has to be asked again while a process does not stop.
		err := os.WriteFile(file, []byte(word), 0o644)
		if errors.Is(err, fs.ErrNotExist) && !stop {
			return nil
		}
		b, readErr := os.ReadFile(state)
		if err = errors.Join(err, readErr); err != nil {
			return fmt.Errorf("machine %s: %w", m.Name, err)
		}
		if strings.Contains(string(b), done) {
			return nil
		}
		select {
		case <-deadline:
			return fmt.Errorf("machine %s does not become %s within %v", m.Name, strings.ToLower(word), freezeTime)
		case <-tick.C:
		}
	}
}

// freezer is the file that stops the machine's control group and all below it.
func (m *Machine) freezer() (file string, v2 bool, err error) {
	hs, err := hierarchies()
	if err != nil {
		return "", false, err
	}
	for _, h := range hs {
		dir := filepath.Join(h.path, m.of.cgroup(), m.Name)
		switch {
		case hasOption(h, "freezer"):
			return filepath.Join(dir, "freezer.state"), false, nil
		case h.v2:
			file, v2 = filepath.Join(dir, "cgroup.freeze"), true
		}
	}
	if file == "" {
		return "", false, errors.New("this machine has no control group that stops processes (freezer)")
	}
	return file, v2, nil
}

func hasOption(h hierarchy, name string) bool {
	for o := range strings.SplitSeq(h.opts, ",") {
		if o == name {
			return true
		}
	}
	return false
}
