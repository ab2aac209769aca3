package containerd

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// A child whose daemon was killed before it wrote the pid file is found all the same; one with another configuration is not.
func TestChildIsFoundWithoutPidFile(t *testing.T) {
	dir := t.TempDir()
	s := &Server{cfg: Config{State: dir}}
	if err := os.WriteFile(s.cfg.config(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if pid := s.find(); pid != 0 {
		t.Fatalf("found %d before there was one", pid)
	}
	other := filepath.Join(dir, "other.toml")
	start := func(config string) *exec.Cmd {
		t.Helper()
		// It looks like one: a program that waits, with these last arguments.
		c := exec.Command("sh", "-c", "read line", "containerd", "-c", config)
		in, err := c.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			in.Close()
			_ = c.Wait() // its status tells nothing
		})
		return c
	}
	start(other)
	if pid := s.find(); pid != 0 {
		t.Fatalf("found %d, which has another configuration", pid)
	}
	c := start(s.cfg.config())
	if pid := s.find(); pid != c.Process.Pid {
		t.Fatalf("found %d, want %d", pid, c.Process.Pid)
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-gone(c.Process.Pid)
	if pid := s.find(); pid != 0 {
		t.Fatalf("found %d, which is dead", pid)
	}
}
