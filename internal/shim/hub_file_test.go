package shim

import (
	"os"
	"path/filepath"
	"testing"
)

// A hub takes its socket's file away with it, and never the one that a later shim has put in its place.
func TestHubRemovesItsOwnSocketOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	old, later := new(hub), new(hub)
	if err := old.listen(path); err != nil {
		t.Fatal(err)
	}
	if err := later.listen(path); err != nil {
		t.Fatal(err)
	}
	old.end()
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the later shim's socket: %v", err)
	}
	s := &service{keepers: map[string]*keeper{"c": {hub: later}}}
	s.release()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket of a shim that has ended: %v", err)
	}
}
