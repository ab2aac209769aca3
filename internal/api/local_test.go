package api

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"shoal/internal/containerd"
	"shoal/internal/engine"
	"shoal/internal/image"
	"shoal/internal/network"
	"shoal/internal/volume"
)

// noNetwork gives every container the node's own network: what is tested here is not the network.
type noNetwork struct{}

func (noNetwork) Attach(context.Context, network.Request) (*network.Sandbox, error) {
	return &network.Sandbox{}, nil
}
func (noNetwork) Detach(context.Context, string) error                           { return nil }
func (noNetwork) Sandbox(string) (*network.Sandbox, bool)                        { return nil, false }
func (noNetwork) Retain([]string)                                                {}
func (noNetwork) Connect(context.Context, string, network.LocalAttachment) error { return nil }
func (noNetwork) Disconnect(context.Context, string, string) error               { return nil }

// local serves a node's own objects on a unix socket, over a private containerd, and returns the socket.
func local(t *testing.T) (socket string, l Local) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("containers need root")
	}
	bin, err := filepath.Abs("../../bin")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []string{"containerd", "runc", "containerd-shim-shoal-v1"} {
		if _, err := os.Stat(filepath.Join(bin, b)); err != nil {
			t.Fatalf("%v: run make build first", err)
		}
	}
	dir, err := os.MkdirTemp("/tmp", "api") // sockets need a short path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	srv, err := containerd.Start(t.Context(), containerd.Config{Binary: filepath.Join(bin, "containerd"), Root: dir + "/c", State: dir + "/r"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Stop(); err != nil {
			t.Error(err)
		}
	})
	if l.Images, err = image.New(image.Config{Client: srv.Client, Users: func(id string) []image.User { return l.Engine.ImageUsers(id) }}); err != nil {
		t.Fatal(err)
	}
	if l.Volumes, err = volume.New(dir+"/v", nil); err != nil {
		t.Fatal(err)
	}
	l.Engine, err = engine.New(t.Context(), engine.Config{
		DataRoot: dir + "/d", ExecRoot: dir + "/x", Containerd: srv, Images: l.Images, Volumes: l.Volumes,
		Network: noNetwork{}, Runc: filepath.Join(bin, "runc"), Shim: filepath.Join(bin, "containerd-shim-shoal-v1"), CgroupParent: "/" + filepath.Base(dir),
	})
	if err != nil {
		t.Fatal(err)
	}
	l.Volumes.SetInUse(l.Engine.VolumeUsers)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		for _, c := range l.Engine.Containers() {
			if err := l.Engine.Remove(ctx, c.ID(), engine.RemoveOptions{Force: true, Volumes: true}); err != nil {
				t.Error(err)
			}
		}
		if err := l.Engine.Close(); err != nil {
			t.Error(err)
		}
		parents, _ := filepath.Glob("/sys/fs/cgroup/*/" + filepath.Base(dir)) // runc removes the leaves alone
		for _, p := range parents {
			os.Remove(p)
		}
	})
	ln, err := net.Listen("unix", dir+"/s")
	if err != nil {
		t.Fatal(err)
	}
	hs := &http.Server{Handler: New(Config{Local: l}), ReadHeaderTimeout: time.Minute}
	go func() {
		if err := hs.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { hs.Close() })
	return dir + "/s", l
}
