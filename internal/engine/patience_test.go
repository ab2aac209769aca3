package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// Tasks that are prepared and started while containerd is killed run in the end, and none has failed.
func TestTasksOutliveContainerd(t *testing.T) {
	r := newRig(t)
	x := r.Executor()
	var all sync.WaitGroup
	const tasks = 6
	for i := range tasks {
		all.Go(func() {
			id := fmt.Sprintf("task%d", i)
			a := assignment(id, nil, "wait", "15", "0")
			a.Task.Slot = i + 1
			if err := x.Prepare(t.Context(), a, cluster.Secrets{}); err != nil {
				t.Errorf("prepare %s: %v", id, err)
				return
			}
			if s, err := x.Start(t.Context(), id); err != nil || s.State != swarm.TaskStateRunning {
				t.Errorf("start %s: %+v %v", id, s, err)
			}
		})
	}
	await(t, "the first container in containerd", func() bool {
		list, err := r.server.Client().Containers(namespaces.WithNamespace(t.Context(), Namespace))
		return err == nil && len(list) > 0
	})
	if err := syscall.Kill(r.server.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	list, err := r.server.Client().Containers(namespaces.WithNamespace(t.Context(), Namespace))
	if err != nil || len(list) != tasks {
		t.Errorf("containerd has %d containers, want %d (%v)", len(list), tasks, err)
	}
}

// nobody is a containerd that never answers.
type nobody struct{ client *client.Client }

func (n nobody) Client() *client.Client { return n.client }

// A container whose removal meets a dead containerd is still there, and is removed by the next try.
func TestRemoveWhileContainerdIsAway(t *testing.T) {
	r := newRig(t)
	c := r.create("away", nil, "exit", "0")
	dead, err := client.New(filepath.Join(r.dir, "nobody.sock"), client.WithTimeout(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer dead.Close()
	alive := r.cfg.Containerd
	r.cfg.Containerd = nobody{dead}
	if err := r.Remove(t.Context(), c.ID(), RemoveOptions{}); !errdefs.IsUnavailable(err) {
		t.Fatalf("removal without containerd: %v", err)
	}
	if _, err := r.Find("away"); err != nil {
		t.Fatal(err)
	}
	r.cfg.Containerd = alive
	if err := r.Remove(t.Context(), c.ID(), RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Find("away"); !errdefs.IsNotFound(err) {
		t.Errorf("it is still there: %v", err)
	}
}

// What fails for a reason of its own is tried once.
func TestOutliveLeavesOtherFailuresAlone(t *testing.T) {
	r := newRig(t)
	own := errors.New("no such command")
	for _, err := range []error{own, cluster.Errorf(errdefs.ErrUnavailable, "the registry is away")} {
		tries, began := 0, time.Now()
		got := r.outlive(t.Context(), func(bool) error { tries++; return err })
		if !errors.Is(got, err) || tries != 1 {
			t.Errorf("%v: %d tries in %v, %v", err, tries, time.Since(began), got)
		}
	}
}

// A container of which containerd holds half, since the daemon died in between, is started by the next daemon.
func TestHalfMadeContainerStarts(t *testing.T) {
	r := newRig(t)
	c := r.create("half", nil, "exit", "7")
	ctx := namespaces.WithNamespace(t.Context(), Namespace)
	if _, err := r.server.Client().NewContainer(ctx, c.ID(), client.WithRuntime(r.cfg.Shim, nil)); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r.reopen()
	if err := r.Start(t.Context(), "half"); err != nil {
		t.Fatal(err)
	}
	found, err := r.Find("half")
	if err != nil {
		t.Fatal(err)
	}
	if _, code := r.finish(found); code != 7 {
		t.Errorf("it ended with %d", code)
	}
}

// A container without a layer, since the daemon died while it made it, is gone with the next daemon.
func TestContainerWithoutLayerIsRemoved(t *testing.T) {
	r := newRig(t)
	c := r.create("bare", nil, "exit", "0")
	ctx := namespaces.WithNamespace(t.Context(), Namespace)
	if err := r.server.Client().SnapshotService(snapshotter).Remove(ctx, c.ID()); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r.reopen()
	if _, err := r.Find("bare"); !errdefs.IsNotFound(err) {
		t.Errorf("it is still there: %v", err)
	}
}

// A containerd that was killed in the middle of making a layer has left a folder whose number it gives out again.
func TestLayerFolderOfADeadContainerd(t *testing.T) {
	r := newRig(t)
	r.create("before", nil, "exit", "0")
	folders := filepath.Join(r.dir, "c", "root", "io.containerd.snapshotter.v1.overlayfs", "snapshots")
	made, err := os.ReadDir(folders)
	if err != nil {
		t.Fatal(err)
	}
	highest := 0
	for _, d := range made {
		if n, err := strconv.Atoi(d.Name()); err == nil {
			highest = max(highest, n)
		}
	}
	for n := highest + 1; n <= highest+5; n++ {
		if err := os.Mkdir(filepath.Join(folders, strconv.Itoa(n)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Kill(r.server.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "the next containerd", func() bool {
		_, err := os.Stat(filepath.Join(folders, strconv.Itoa(highest+1)))
		_, away := r.server.Client().Version(t.Context())
		return errors.Is(err, os.ErrNotExist) && away == nil
	})
	r.create("after", nil, "exit", "0")
}
