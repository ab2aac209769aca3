package engine

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/google/go-containerregistry/pkg/name"
	ociregistry "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"

	"shoal/internal/containerd"
	"shoal/internal/image"
	"shoal/internal/network"
	"shoal/internal/volume"
)

// rig is an engine on a private containerd with one image, "app", in a directory of its own.
type rig struct {
	t      *testing.T
	dir    string
	server *containerd.Server
	images *pulled
	*Engine
}

// tools are the binaries that the tests run on: containerd and runc as `make build` leaves them, the shim and the
// image's one program built here.
type tools struct{ containerd, runc, shim, app string }

var toolsDir string // where build puts its binaries, once it has run

var build = sync.OnceValues(func() (tools, error) {
	bin, err := filepath.Abs("../../bin")
	if err != nil {
		return tools{}, err
	}
	dir, err := os.MkdirTemp("", "shoal-tools-")
	if err != nil {
		return tools{}, err
	}
	toolsDir = dir
	b := tools{filepath.Join(bin, "containerd"), filepath.Join(bin, "runc"), filepath.Join(dir, "containerd-shim-shoal-v1"), filepath.Join(dir, "app")}
	for _, c := range [][]string{
		{"-tags", "no_grpc osusergo netgo", "-o", b.shim, "shoal/cmd/containerd-shim-shoal-v1"},
		{"-o", b.app, "./testdata/app"},
	} {
		cmd := exec.Command("go", append([]string{"build", "-trimpath", "-ldflags", "-s -w"}, c...)...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return tools{}, fmt.Errorf("%w: %s", err, out)
		}
	}
	for _, p := range []string{b.containerd, b.runc} {
		if _, err := os.Stat(p); err != nil {
			return tools{}, fmt.Errorf("%w: `make build` makes it", err)
		}
	}
	return b, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if toolsDir != "" {
		os.RemoveAll(toolsDir)
	}
	os.Exit(code)
}

func newRig(t *testing.T) *rig {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("this test runs containers and must be run as root")
	}
	b, err := build()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "she")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, dir: dir}
	r.startContainerd(b)
	r.images = pull(t, r.server.Client(), b.app)
	r.open(b)
	t.Cleanup(r.clean)
	return r
}

func (r *rig) startContainerd(b tools) {
	r.t.Helper()
	s, err := containerd.Start(r.t.Context(), containerd.Config{Binary: b.containerd, Root: r.dir + "/c", State: r.dir + "/r"})
	if err != nil {
		r.t.Fatal(err)
	}
	r.server = s
	if r.images != nil {
		r.images.client = s.Client()
	}
}

func (r *rig) open(b tools) {
	r.t.Helper()
	volumes, err := volume.New(r.dir+"/v", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	r.Engine, err = New(r.t.Context(), Config{
		DataRoot: r.dir + "/d", ExecRoot: r.dir + "/x", Containerd: r.server, Images: r.images,
		Volumes: volumes, Network: nodeNetwork{}, Runc: b.runc, Shim: b.shim, CgroupParent: "/" + filepath.Base(r.dir),
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// reopen is a new daemon: its predecessor has let go of everything or was killed.
func (r *rig) reopen() {
	r.t.Helper()
	b, _ := build()
	r.open(b)
}

func (r *rig) clean() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := r.Purge(ctx); err != nil {
		r.t.Error(err)
	}
	if err := r.server.Stop(); err != nil {
		r.t.Error(err)
	}
	if err := os.RemoveAll(r.dir); err != nil {
		r.t.Error(err)
	}
}

// nodeNetwork puts every container into the node's own network: what the engine does is the same in any.
type nodeNetwork struct{}

func (nodeNetwork) Attach(context.Context, network.Request) (*network.Sandbox, error) {
	return &network.Sandbox{}, nil
}
func (nodeNetwork) Detach(context.Context, string) error                           { return nil }
func (nodeNetwork) Sandbox(string) (*network.Sandbox, bool)                        { return nil, false }
func (nodeNetwork) Retain([]string)                                                {}
func (nodeNetwork) Connect(context.Context, string, network.LocalAttachment) error { return nil }
func (nodeNetwork) Disconnect(context.Context, string, string) error               { return nil }

// pulled is an image store that holds one image under any name.
type pulled struct {
	client *client.Client
	ref    string
	config dockerspec.DockerOCIImage
}

func (p *pulled) Ensure(ctx context.Context, ref, _ string) (*image.Image, error) {
	return p.Get(ctx, ref)
}

func (p *pulled) Get(ctx context.Context, ref string) (*image.Image, error) {
	h, err := p.client.GetImage(namespaces.WithNamespace(ctx, Namespace), p.ref)
	if err != nil {
		return nil, err
	}
	return &image.Image{ID: h.Target().Digest.String(), Name: p.ref, Target: h.Target(), Config: p.config, Handle: h}, nil
}

func pull(t *testing.T, cl *client.Client, app string) *pulled {
	t.Helper()
	srv := httptest.NewServer(ociregistry.New(ociregistry.Logger(log.New(io.Discard, "", 0))))
	defer srv.Close()
	ref := strings.TrimPrefix(srv.URL, "http://") + "/app:1"
	push(t, ref, app)
	hosts := docker.ConfigureDefaultRegistries(docker.WithPlainHTTP(docker.MatchLocalhost), docker.WithClient(http.DefaultClient))
	ctx := namespaces.WithNamespace(t.Context(), Namespace)
	if _, err := cl.Pull(ctx, ref, client.WithResolver(docker.NewResolver(docker.ResolverOptions{Hosts: hosts})), client.WithPullUnpack); err != nil {
		t.Fatal(err)
	}
	p := &pulled{client: cl, ref: ref}
	p.config.Config.Entrypoint = []string{"/app"}
	p.config.Config.Env = []string{"PATH=/", "FROM=image"}
	p.config.Config.Volumes = map[string]struct{}{"/data": {}}
	return p
}

func push(t *testing.T, ref, app string) {
	t.Helper()
	program, err := os.ReadFile(app)
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range []struct {
		name, text string
		mode       int64
	}{
		{"app", string(program), 0o755},
		{"plain", "not a program", 0o644},
		{"data/first", "from the image", 0o644},
		{"etc/passwd", "root:x:0:0::/root:/bin/sh\nfish:x:1234:1235::/home/fish:/bin/sh\n", 0o644},
		{"etc/group", "root:x:0:\nfish:x:1235:\nreef:x:77:fish\nbay:x:78:\n", 0o644},
	} {
		if err := errors.Join(w.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.text))}), write(w, f.text)); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	cf, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if img, err = mutate.ConfigFile(img, &v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: cf.RootFS}); err != nil {
		t.Fatal(err)
	}
	r, err := name.ParseReference(ref, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(r, img); err != nil {
		t.Fatal(err)
	}
}

func write(w io.Writer, s string) error { _, err := io.WriteString(w, s); return err }

// create makes a container that runs the program with these arguments.
func (r *rig) create(name string, change func(*container.Config, *container.HostConfig), args ...string) *Container {
	r.t.Helper()
	c, h := &container.Config{Image: "app", Cmd: args}, &container.HostConfig{}
	if change != nil {
		change(c, h)
	}
	ctr, _, err := r.Create(r.t.Context(), CreateRequest{Name: name, Config: c, HostConfig: h})
	if err != nil {
		r.t.Fatal(err)
	}
	return ctr
}

// run creates and starts a container.
func (r *rig) run(name string, change func(*container.Config, *container.HostConfig), args ...string) *Container {
	r.t.Helper()
	c := r.create(name, change, args...)
	if err := r.Start(r.t.Context(), c.ID()); err != nil {
		r.t.Fatal(err)
	}
	return c
}

// output runs a container to its end and returns what it wrote and its code.
func (r *rig) output(change func(*container.Config, *container.HostConfig), args ...string) (string, int) {
	r.t.Helper()
	c := r.run("", change, args...)
	return r.finish(c)
}

func (r *rig) finish(c *Container) (string, int) {
	r.t.Helper()
	s := r.ended(c)
	var b strings.Builder
	for l, err := range r.Logs(r.t.Context(), c.ID(), LogOptions{Stdout: true, Stderr: true, Tail: -1}) {
		if err != nil {
			r.t.Fatal(err)
		}
		b.WriteString(l.Log)
	}
	return b.String(), s.ExitCode
}

func (r *rig) ended(c *Container) State {
	r.t.Helper()
	return r.until(c, "it has ended", func(s State) bool { return !s.Running() && s.Status != container.StateCreated }).State
}

// until waits for a state of the container.
func (r *rig) until(c *Container, what string, ok func(State) bool) Record {
	r.t.Helper()
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	for {
		rec, changed := c.Changed()
		if ok(rec.State) {
			return rec
		}
		select {
		case <-changed:
		case <-limit.C:
			r.t.Fatalf("container %s: not so after 20 s: %s; state %+v", rec.Name, what, rec.State)
		}
	}
}

// line waits until the container has written a line.
func (r *rig) line(c *Container, want string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	for l, err := range r.Logs(ctx, c.ID(), LogOptions{Stdout: true, Stderr: true, Tail: -1, Follow: true}) {
		if err != nil {
			r.t.Fatal(err)
		}
		if strings.TrimSpace(l.Log) == want {
			return
		}
	}
	r.t.Fatalf("no line %q", want)
}
