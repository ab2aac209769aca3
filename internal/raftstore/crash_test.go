package raftstore_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"shoal/internal/raftstore"
)

// crashDir is the variable that makes the test binary a writer, which is killed while it writes.
const crashDir = "SHOAL_TEST_CRASH_DIR"

// TestCrashWriter is the child of TestKilledWriter: it prints every write that was acknowledged.
func TestCrashWriter(t *testing.T) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		return // nothing to do as an ordinary test
	}
	m := start(t, raftstore.Config{Dir: dir, ID: "n1", Bootstrap: true, Seal: key(1), SnapshotInterval: 200, Trailing: 10, SegmentSize: 64 << 10})
	m.awaitLead(t, true)
	base := m.store.Index()
	var wg sync.WaitGroup
	var out sync.Mutex
	for w := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("b%d-w%d-%d", base, w, i)
				if err := m.write(id); err != nil {
					t.Error(err)
					return
				}
				out.Lock()
				fmt.Fprintln(os.Stdout, "ack", id)
				out.Unlock()
			}
		})
	}
	wg.Wait()
}

// TestKilledWriter kills a writing process at some moment, several times over the same files: every write that it has
// acknowledged must be there. The writes run over segment ends and snapshots.
func TestKilledWriter(t *testing.T) {
	dir := t.TempDir()
	var acknowledged []string
	for _, acks := range []int{1, 300, 900} {
		acknowledged = append(acknowledged, crash(t, dir, acks)...)
	}
	m := start(t, raftstore.Config{Dir: dir, ID: "n1", Seal: key(1), SegmentSize: 64 << 10})
	m.awaitLead(t, true)
	for _, id := range acknowledged {
		if !m.has(id) {
			t.Errorf("%s was acknowledged and is gone", id)
		}
	}
	if len(acknowledged) < 1201 {
		t.Errorf("only %d writes were acknowledged", len(acknowledged))
	}
}

// crash runs the writer until it has acknowledged that many writes, kills it, and returns all that it has acknowledged.
func crash(t *testing.T, dir string, acks int) (ids []string) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestCrashWriter$", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(pipe)
	for lines.Scan() {
		var id string
		if _, err := fmt.Sscanf(lines.Text(), "ack %s", &id); err != nil {
			t.Log(lines.Text())
			continue
		}
		ids = append(ids, id)
		if len(ids) == acks {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the writer ended by itself")
	}
	if len(ids) < acks {
		t.Fatalf("the writer ended after %d writes", len(ids))
	}
	return ids
}

// smallDisk mounts a file system of that many bytes.
func smallDisk(t *testing.T, size string) string {
	if os.Geteuid() != 0 {
		t.Fatal("this test mounts a file system: run it as root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// ballast fills the disk but for that many bytes, by a file that can be removed again.
func ballast(t *testing.T, dir string, leave uint64) string {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, int64(fs.Bavail*uint64(fs.Bsize)-leave)); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFullDiskRefusesAndRecovers(t *testing.T) {
	dir := smallDisk(t, "8m")
	m := start(t, raftstore.Config{Dir: filepath.Join(dir, "raft"), ID: "n1", Bootstrap: true, SegmentSize: 256 << 10})
	m.awaitLead(t, true)
	m.mustWrite(t, "before")
	path := ballast(t, dir, 100<<10)
	if err := m.write("during"); !errors.Is(err, errdefs.ErrResourceExhausted) {
		t.Fatalf("write on a full disk: %v", err)
	}
	if !m.IsLeader() {
		t.Error("it has lost the lead over that")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	m.mustWrite(t, "after")
	if m.has("during") {
		t.Error("the refused write was made")
	}
}
