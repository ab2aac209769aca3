package api

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// appArchive is a docker-archive of the engine's test program as the image app:1.
func appArchive(t *testing.T) io.Reader {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "app")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin, "../engine/testdata/app")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	program, err := os.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	var layer bytes.Buffer
	tw := tar.NewWriter(&layer)
	if err := tw.WriteHeader(&tar.Header{Name: "app", Mode: 0o755, Size: int64(len(program))}); err != nil {
		t.Fatal(err)
	}
	if _, err := tw.Write(program); err != nil {
		t.Fatal(err)
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		t.Fatal(err)
	}
	cf, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	img, err = mutate.ConfigFile(img, &v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: cf.RootFS, Config: v1.Config{Entrypoint: []string{"/app"}}})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := tarball.Write(name.MustParseReference("app:1"), img, &out); err != nil {
		t.Fatal(err)
	}
	return &out
}

// create makes a container in the node's own network.
func create(t *testing.T, cl *client.Client, c container.Config) string {
	t.Helper()
	c.Image = "app:1"
	res, err := cl.ContainerCreate(t.Context(), client.ContainerCreateOptions{Config: &c, HostConfig: &container.HostConfig{NetworkMode: "host"}})
	if err != nil {
		t.Fatal(err)
	}
	return res.ID
}

// What `docker run`, `exec`, `cp` and `rm` do, through the real client and real containers.
func TestLocalStory(t *testing.T) {
	socket, _ := local(t)
	cl, err := client.New(client.WithHost("unix://"+socket), client.WithAPIVersion("1.52"))
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	load, err := cl.ImageLoad(ctx, appArchive(t))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(load); err != nil || !strings.Contains(string(b), `Loaded image: app:1\n`) {
		t.Fatalf("%s %v", b, err)
	}
	t.Run("input ends before the output comes", func(t *testing.T) {
		id := create(t, cl, container.Config{Cmd: []string{"cat"}, OpenStdin: true, StdinOnce: true, AttachStdin: true})
		a, err := cl.ContainerAttach(ctx, id, client.ContainerAttachOptions{Stream: true, Stdin: true, Stdout: true, Stderr: true})
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		if _, err := a.Conn.Write([]byte("hello\n")); err != nil { // before the container runs
			t.Fatal(err)
		}
		if err := a.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		wait := cl.ContainerWait(ctx, id, client.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
		if _, err := cl.ContainerStart(ctx, id, client.ContainerStartOptions{}); err != nil {
			t.Fatal(err)
		}
		var stdout, stderr bytes.Buffer
		if _, err := stdcopy.StdCopy(&stdout, &stderr, a.Reader); err != nil {
			t.Fatal(err)
		}
		if stdout.String() != "hello\n" || stderr.Len() > 0 {
			t.Errorf("%q, %q", &stdout, &stderr)
		}
		exited(t, wait, 0)
	})
	t.Run("both streams and the code", func(t *testing.T) {
		id := create(t, cl, container.Config{Cmd: []string{"exit", "7"}})
		a, err := cl.ContainerAttach(ctx, id, client.ContainerAttachOptions{Stream: true, Stdout: true, Stderr: true})
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		wait := cl.ContainerWait(ctx, id, client.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
		if _, err := cl.ContainerStart(ctx, id, client.ContainerStartOptions{}); err != nil {
			t.Fatal(err)
		}
		var stdout, stderr bytes.Buffer
		if _, err := stdcopy.StdCopy(&stdout, &stderr, a.Reader); err != nil {
			t.Fatal(err)
		}
		if stdout.String() != "out: ending with 7\n" || stderr.String() != "err: ending with 7\n" {
			t.Errorf("%q, %q", &stdout, &stderr)
		}
		exited(t, wait, 7)
		logs, err := cl.ContainerLogs(ctx, id, client.ContainerLogsOptions{ShowStderr: true})
		if err != nil {
			t.Fatal(err)
		}
		stderr.Reset()
		if _, err := stdcopy.StdCopy(io.Discard, &stderr, logs); err != nil || stderr.String() != "err: ending with 7\n" {
			t.Errorf("log %q %v", &stderr, err)
		}
		info, err := cl.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
		if err != nil || info.Container.State.ExitCode != 7 || info.Container.Config.Image != "app:1" || info.Container.HostConfig.NetworkMode != "host" {
			t.Errorf("%+v %v", info.Container.State, err)
		}
	})
	id := create(t, cl, container.Config{Cmd: []string{"wait"}, Labels: map[string]string{"role": "main"}})
	if _, err := cl.ContainerStart(ctx, id, client.ContainerStartOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Run("exec", func(t *testing.T) {
		for _, c := range []struct {
			cmd  []string
			code int
			text string
		}{
			{[]string{"/app", "exit", "3"}, 3, "out: ending with 3\n"},
			{[]string{"nosuch"}, 127, `exec: "nosuch": executable file not found in $PATH`},
			{[]string{"/"}, 126, `exec: "/"`},
		} {
			code, out := execIn(t, cl, id, c.cmd, "")
			if code != c.code || !strings.Contains(out, c.text) {
				t.Errorf("%v: code %d, %q", c.cmd, code, out)
			}
		}
		if code, out := execIn(t, cl, id, []string{"/app", "cat"}, "to and fro"); code != 0 || out != "to and fro" {
			t.Errorf("code %d, %q", code, out)
		}
	})
	t.Run("listing and removal", func(t *testing.T) {
		list, err := cl.ContainerList(ctx, client.ContainerListOptions{Filters: client.Filters{}.Add("label", "role=main").Add("ancestor", "app:1")})
		if err != nil || len(list.Items) != 1 || list.Items[0].ID != id || !strings.HasPrefix(list.Items[0].Status, "Up ") {
			t.Errorf("%+v %v", list, err)
		}
		if _, err := cl.ContainerRemove(ctx, id, client.ContainerRemoveOptions{}); !errdefs.IsConflict(err) {
			t.Error(err)
		}
		if _, err := cl.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true}); err != nil {
			t.Error(err)
		}
		if _, err := cl.ContainerInspect(ctx, id, client.ContainerInspectOptions{}); !errdefs.IsNotFound(err) {
			t.Error(err)
		}
	})
}

func exited(t *testing.T, w client.ContainerWaitResult, code int64) {
	t.Helper()
	select {
	case r := <-w.Result:
		if r.StatusCode != code || r.Error != nil {
			t.Errorf("wait: %+v", r)
		}
	case err := <-w.Error:
		t.Error(err)
	}
}

// execIn runs a command in a container and returns its exit code and all of its output.
func execIn(t *testing.T, cl *client.Client, id string, cmd []string, in string) (int, string) {
	t.Helper()
	x, err := cl.ExecCreate(t.Context(), id, client.ExecCreateOptions{Cmd: cmd, AttachStdin: in != "", AttachStdout: true, AttachStderr: true})
	if err != nil {
		t.Fatal(err)
	}
	a, err := cl.ExecAttach(t.Context(), x.ID, client.ExecAttachOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if in != "" {
		if _, err := io.WriteString(a.Conn, in); err != nil {
			t.Fatal(err)
		}
		if err := a.CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, io.Discard, a.Reader); err != nil {
		t.Fatal(err)
	}
	info, err := cl.ExecInspect(t.Context(), x.ID, client.ExecInspectOptions{})
	if err != nil || info.Running {
		t.Fatalf("%+v %v", info, err)
	}
	return info.ExitCode, out.String()
}
