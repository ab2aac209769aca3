package image

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	registryserver "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/registry"

	"github.com/opencontainers/go-digest"

	"shoal/internal/containerd"
)

// node is a store over a private containerd.
func node(t *testing.T, change func(*Config)) *Store {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("containerd needs root")
	}
	bin, err := filepath.Abs("../../bin/containerd")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(bin); err != nil {
		t.Fatalf("%v: run make build first", err)
	}
	state, err := os.MkdirTemp("/tmp", "img") // sockets need a short path
	if err != nil {
		t.Fatal(err)
	}
	srv, err := containerd.Start(t.Context(), containerd.Config{Binary: bin, Root: t.TempDir(), State: state})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Stop(); err != nil {
			t.Error(err)
		}
		os.RemoveAll(state)
	})
	cfg := Config{Client: srv.Client}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// hubOf serves an in-memory registry, through wrap when it is not nil, and returns its host:port and a handle that
// bypasses wrap.
func hubOf(t *testing.T, wrap func(http.Handler) http.Handler) (host, direct string) {
	t.Helper()
	h := registryserver.New(registryserver.Logger(log.New(io.Discard, "", 0)))
	open := httptest.NewServer(h)
	t.Cleanup(open.Close)
	if wrap == nil {
		wrap = func(h http.Handler) http.Handler { return h }
	}
	front := httptest.NewServer(wrap(h))
	t.Cleanup(front.Close)
	return strings.TrimPrefix(front.URL, "http://"), strings.TrimPrefix(open.URL, "http://")
}

// build makes an image of one file.
func build(t *testing.T, content string) v1.Image {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	if err := tw.WriteHeader(&tar.Header{Name: "file", Mode: 0o755, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := tw.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
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
	img, err = mutate.ConfigFile(img, &v1.ConfigFile{
		OS: "linux", Architecture: "amd64", RootFS: cf.RootFS, History: []v1.History{{CreatedBy: "COPY"}, {CreatedBy: "CMD", EmptyLayer: true}},
		Config: v1.Config{Cmd: []string{"/file"}, Labels: map[string]string{"content": content}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func push(t *testing.T, ref string, img v1.Image) (digest string) {
	t.Helper()
	r, err := name.ParseReference(ref, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(r, img); err != nil {
		t.Fatal(err)
	}
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

func configID(t *testing.T, img v1.Image) string {
	t.Helper()
	d, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

func archiveOf(t *testing.T, ref string, img v1.Image) *bytes.Buffer {
	t.Helper()
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	if err := tarball.Write(tag, img, &buf); err != nil {
		t.Fatal(err)
	}
	return &buf
}

// collector gathers progress messages.
type collector struct {
	mu  sync.Mutex
	all []jsonstream.Message
}

func (c *collector) add(m jsonstream.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, m)
}

func (c *collector) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	for _, m := range c.all {
		b.WriteString(m.ID + "|" + m.Status + m.Stream + "\n")
	}
	return b.String()
}

func (c *collector) has(t *testing.T, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(c.text(), w) {
			t.Errorf("no %q in\n%s", w, c.text())
		}
	}
}

func tags(t *testing.T, s *Store, f Filters) []string {
	t.Helper()
	list, err := s.List(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	out := []string{}
	for _, i := range list {
		if len(i.RepoTags) == 0 {
			out = append(out, "<none>")
		}
		out = append(out, i.RepoTags...)
	}
	return out
}

func TestPull(t *testing.T) {
	var mu sync.Mutex
	asked := 0
	host, direct := hubOf(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			asked++
			mu.Unlock()
			h.ServeHTTP(w, r)
		})
	})
	s := node(t, nil)
	one, two := build(t, "one"), build(t, "two")
	digest := push(t, direct+"/app:1", one)

	var c collector
	img, err := s.Pull(t.Context(), host+"/app:1", "", c.add)
	if err != nil {
		t.Fatal(err)
	}
	if img.ID != configID(t, one) || img.Target.Digest.String() != digest || img.Config.Config.Cmd[0] != "/file" {
		t.Errorf("%+v", img)
	}
	c.has(t, "1|Pulling from app", "|Pulling fs layer", "|Download complete", "|Pull complete", "|Digest: "+digest, "|Status: Downloaded newer image for "+host+"/app:1")

	var again collector
	if _, err := s.Pull(t.Context(), host+"/app:1", "", again.add); err != nil {
		t.Fatal(err)
	}
	again.has(t, "|Status: Image is up to date for "+host+"/app:1")

	// A pinned image that is present is used without a word to the registry.
	mu.Lock()
	before := asked
	mu.Unlock()
	if img, err := s.Ensure(t.Context(), host+"/app:1@"+digest, ""); err != nil || img.ID != configID(t, one) {
		t.Fatal(img, err)
	}
	mu.Lock()
	if asked != before {
		t.Errorf("the registry was asked %d times", asked-before)
	}
	mu.Unlock()

	// The tag moves: the old image stays, without a name.
	push(t, direct+"/app:1", two)
	if img, err := s.Ensure(t.Context(), host+"/app:1", ""); err != nil || img.ID != configID(t, two) {
		t.Fatal(img, err)
	}
	if d := cmp.Diff([]string{"<none>", host + "/app:1"}, tags(t, s, nil), cmp.Transformer("set", set)); d != "" {
		t.Error(d)
	}
	if _, err := s.Get(t.Context(), configID(t, one)[7:19]); err != nil {
		t.Error(err)
	}

	_, err = s.Pull(t.Context(), host+"/app:nosuch", "", nil)
	if !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), "manifest for "+host+"/app:nosuch not found: manifest unknown") {
		t.Error(err)
	}
	_, err = s.Ensure(t.Context(), host+"/app:nosuch", "")
	if !errdefs.IsNotFound(err) || err.Error() != "No such image: "+host+"/app:nosuch" {
		t.Error(err)
	}
	got, err := s.Distribution(t.Context(), host+"/app:1@"+digest, "")
	if err != nil || got.Descriptor.Digest.String() != digest || len(got.Platforms) != 1 || got.Platforms[0].OS != "linux" {
		t.Errorf("%+v %v", got, err)
	}
}

func set(in []string) map[string]int {
	m := map[string]int{}
	for _, v := range in {
		m[v]++
	}
	return m
}

func TestMirror(t *testing.T) {
	host, _ := hubOf(t, nil)
	img := build(t, "mirrored")
	digest := push(t, host+"/library/web:v1", img)
	s := node(t, func(c *Config) { c.Mirrors = []string{"http://127.0.0.1:1", "http://" + host} })
	d, err := s.Distribution(t.Context(), "web:v1", "")
	if err != nil || d.Descriptor.Digest.String() != digest {
		t.Fatal(d, err)
	}
	got, err := s.Ensure(t.Context(), "web:v1@"+digest, "")
	if err != nil || got.ID != configID(t, img) {
		t.Fatal(got, err)
	}
	list, err := s.List(t.Context(), nil)
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	if d := cmp.Diff([]string{"web@" + digest}, list[0].RepoDigests); d != "" {
		t.Error(d)
	}
}

func TestAuth(t *testing.T) {
	host, direct := hubOf(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if u, p, ok := r.BasicAuth(); !ok || u != "me" || p != "secret" {
				w.Header().Set("WWW-Authenticate", `Basic realm="r"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			h.ServeHTTP(w, r)
		})
	})
	s := node(t, nil)
	push(t, direct+"/private:1", build(t, "private"))
	good, bad := registry.AuthConfig{Username: "me", Password: "secret", ServerAddress: host}, registry.AuthConfig{Username: "me", Password: "no", ServerAddress: host}
	for _, a := range []registry.AuthConfig{{}, bad} {
		header, err := authconfig.Encode(a)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Pull(t.Context(), host+"/private:1", header, nil); err == nil || !strings.Contains(err.Error(), "pull access denied for "+host+"/private") {
			t.Errorf("%+v: %v", a, err)
		}
		if _, err := s.Distribution(t.Context(), host+"/private:1", header); !errdefs.IsUnauthorized(err) {
			t.Errorf("%+v: %v", a, err)
		}
	}
	header, err := authconfig.Encode(good)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Pull(t.Context(), host+"/private:1", header, nil); err != nil {
		t.Error(err)
	}
	if err := s.Tag(t.Context(), host+"/private:1", host+"/private", "2"); err != nil {
		t.Fatal(err)
	}
	var c collector
	if err := s.Push(t.Context(), host+"/private:2", header, c.add); err != nil {
		t.Fatal(err)
	}
	c.has(t, "The push refers to repository ["+host+"/private]", "2: digest: sha256:")
	if err := s.Push(t.Context(), host+"/private:2", "", nil); !errdefs.IsUnauthorized(err) {
		t.Error(err)
	}
	if r, err := s.Login(t.Context(), good); err != nil || r.Status != "Login Succeeded" {
		t.Error(r, err)
	}
	if _, err := s.Login(t.Context(), bad); !errdefs.IsUnauthorized(err) {
		t.Error(err)
	}
}

func TestLoadSave(t *testing.T) {
	s := node(t, nil)
	img := build(t, "archived")
	var c collector
	if err := s.Load(t.Context(), archiveOf(t, "hello:1", img), c.add); err != nil {
		t.Fatal(err)
	}
	c.has(t, "Loaded image: hello:1\n")
	// No registry has it (there is none at all): what the node has is used.
	s.registries.strict = roundTrip(func(*http.Request) (*http.Response, error) { return nil, io.ErrClosedPipe })
	got, err := s.Ensure(t.Context(), "hello:1", "")
	if err != nil || got.ID != configID(t, img) {
		t.Fatal(got, err)
	}
	if err := s.Tag(t.Context(), "hello:1", "other/name", "x"); err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := s.Save(t.Context(), []string{"hello:1", "other/name:x"}, &file); err != nil {
		t.Fatal(err)
	}
	before, err := s.Inspect(t.Context(), "hello:1")
	if err != nil {
		t.Fatal(err)
	}
	if len(before.RepoDigests) != 0 || len(before.RootFS.Layers) != 1 || before.Size == 0 {
		t.Errorf("%+v", before)
	}
	for _, ref := range []string{"hello:1", "other/name:x"} {
		if _, err := s.Remove(t.Context(), ref, false); err != nil {
			t.Fatal(err)
		}
	}
	if left := tags(t, s, nil); len(left) != 0 {
		t.Fatal(left)
	}
	if err := s.Load(t.Context(), bytes.NewReader(file.Bytes()), c.add); err != nil {
		t.Fatal(err)
	}
	after, err := s.Inspect(t.Context(), "other/name:x")
	if err != nil {
		t.Fatal(err)
	}
	before.Metadata, after.Metadata = image.Metadata{}, image.Metadata{}
	if d := cmp.Diff(before, after); d != "" {
		t.Error(d)
	}
	other, err := tarball.Image(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(file.Bytes())), nil }, nil)
	if err != nil || configID(t, other) != configID(t, img) { // as other tools read a docker-archive
		t.Error(err)
	}
	for _, bad := range []string{"", "not a tar"} {
		if err := s.Load(t.Context(), strings.NewReader(bad), c.add); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	h, err := s.History(t.Context(), "hello:1")
	if err != nil || len(h) != 2 || h[0].ID != configID(t, img) || h[0].Size != 0 || h[1].Size == 0 {
		t.Errorf("%+v %v", h, err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// One file that is both a docker-archive and an OCI layout, as `docker save` writes it and as mkimage.py does.
func TestLoadDualFormat(t *testing.T) {
	s := node(t, nil)
	img := build(t, "dual")
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	config, _ := img.RawConfigFile()
	raw, _ := img.RawManifest()
	layers, _ := img.Layers()
	rc, err := layers[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	layer, err := io.ReadAll(rc)
	if err != nil {
		t.Fatal(err)
	}
	digest, _ := img.Digest()
	blob := func(h v1.Hash) string { return "blobs/sha256/" + h.Hex }
	refs := []map[string]any{}
	for _, n := range []string{"docker.io/library/dual:1", "team/dual:2"} {
		refs = append(refs, map[string]any{"mediaType": m.MediaType, "digest": digest.String(), "size": len(raw), "annotations": map[string]string{
			"io.containerd.image.name": n, "org.opencontainers.image.ref.name": n[strings.LastIndex(n, ":")+1:],
		}})
	}
	index, _ := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": refs})
	docker, _ := json.Marshal([]map[string]any{{"Config": blob(m.Config.Digest), "RepoTags": []string{"dual:1", "team/dual:2"}, "Layers": []string{blob(m.Layers[0].Digest)}}})
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for name, data := range map[string][]byte{
		"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`), "index.json": index, "manifest.json": docker,
		blob(m.Config.Digest): config, blob(digest): raw, blob(m.Layers[0].Digest): layer,
	} {
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		tw.Write(data)
	}
	tw.Close()
	var c collector
	if err := s.Load(t.Context(), &buf, c.add); err != nil {
		t.Fatal(err)
	}
	c.has(t, "Loaded image: dual:1\n", "Loaded image: team/dual:2\n")
	if d := cmp.Diff([]string{"dual:1", "team/dual:2"}, tags(t, s, nil)); d != "" {
		t.Error(d)
	}
}

func TestRemove(t *testing.T) {
	users := map[string][]User{}
	s := node(t, func(c *Config) { c.Users = func(id string) []User { return users[id] } })
	img := build(t, "used")
	id := configID(t, img)
	load := func() {
		t.Helper()
		if err := s.Load(t.Context(), archiveOf(t, "used:1", img), func(jsonstream.Message) {}); err != nil {
			t.Fatal(err)
		}
	}
	load()
	for _, c := range []struct {
		ref   string
		force bool
		users []User
		text  string
	}{
		{"used:1", false, []User{{"c0ffee0000001111", false}}, `conflict: unable to remove repository reference "used:1" (must force) - container c0ffee000000 is using its referenced image ` + id[7:19]},
		{id, true, []User{{"c0ffee0000001111", true}}, "conflict: unable to delete " + id[7:19] + " (cannot be forced) - image is being used by running container c0ffee000000"},
		{id[7:20], false, []User{{"c0ffee0000001111", false}}, "conflict: unable to delete " + id[7:19] + " (must be forced) - image is being used by stopped container c0ffee000000"},
	} {
		users[id] = c.users
		if _, err := s.Remove(t.Context(), c.ref, c.force); !errdefs.IsConflict(err) || err.Error() != c.text {
			t.Errorf("%s force=%v: %v", c.ref, c.force, err)
		}
	}
	// By name and with force: the name goes, what the container needs stays.
	gone, err := s.Remove(t.Context(), "used:1", true)
	if d := cmp.Diff([]image.DeleteResponse{{Untagged: "used:1"}}, gone); d != "" || err != nil {
		t.Error(err, d)
	}
	if d := cmp.Diff([]string{"<none>"}, tags(t, s, Filters{"dangling": {"true"}})); d != "" {
		t.Error(d)
	}
	if r, err := s.Prune(t.Context(), nil); err != nil || len(r.ImagesDeleted) != 0 {
		t.Error(r, err)
	}
	delete(users, id)
	r, err := s.Prune(t.Context(), nil)
	if err != nil || len(r.ImagesDeleted) != 1 || r.ImagesDeleted[0].Deleted != id || r.SpaceReclaimed == 0 {
		t.Errorf("%+v %v", r, err)
	}
	load()
	if err := s.Tag(t.Context(), "used:1", "copy", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(t.Context(), id, false); err == nil || !strings.Contains(err.Error(), "image is referenced in multiple repositories") {
		t.Error(err)
	}
	gone, err = s.Remove(t.Context(), "copy", false)
	if d := cmp.Diff([]image.DeleteResponse{{Untagged: "copy:latest"}}, gone); d != "" || err != nil {
		t.Error(err, d)
	}
	gone, err = s.Remove(t.Context(), "used:1", false)
	if d := cmp.Diff([]image.DeleteResponse{{Untagged: "used:1"}, {Deleted: id}}, gone); d != "" || err != nil {
		t.Error(err, d)
	}
	// The collection was synchronous: nothing is left in containerd.
	ctx, cl := s.client(context.Background())
	if _, err := cl.ContentStore().Info(ctx, img2digest(t, img)); !errdefs.IsNotFound(err) {
		t.Errorf("configuration is left: %v", err)
	}
	if _, err := s.Remove(t.Context(), "used:1", false); !errdefs.IsNotFound(err) || err.Error() != "No such image: used:1" {
		t.Error(err)
	}
}

func img2digest(t *testing.T, img v1.Image) digest.Digest {
	t.Helper()
	return digest.Digest(configID(t, img))
}
