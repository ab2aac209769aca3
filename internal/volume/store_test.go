package volume

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/volume"
	"github.com/moby/sys/mountinfo"
)

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := New(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func create(t *testing.T, s *Store, name string, labels, opts map[string]string) volume.Volume {
	t.Helper()
	v, err := s.Create(volume.CreateRequest{Name: name, Labels: labels, DriverOpts: opts})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func names(vs []volume.Volume) []string {
	out := []string{}
	for _, v := range vs {
		out = append(out, v.Name)
	}
	return out
}

func TestCreateRefuses(t *testing.T) {
	s := open(t, t.TempDir())
	create(t, s, "taken", nil, map[string]string{"type": "tmpfs", "device": "tmpfs"})
	for _, c := range []struct {
		req   volume.CreateRequest
		class func(error) bool
		text  string
	}{
		{volume.CreateRequest{Name: "a/b"}, errdefs.IsInvalidArgument, `"a/b" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed`},
		{volume.CreateRequest{Name: "../x"}, errdefs.IsInvalidArgument, "includes invalid characters"},
		{volume.CreateRequest{Name: "x"}, errdefs.IsInvalidArgument, "too short"},
		{volume.CreateRequest{Name: strings.Repeat("x", 300)}, errdefs.IsInvalidArgument, "longer than 255"},
		{volume.CreateRequest{Name: "vv", Driver: "flocker"}, errdefs.IsNotFound, `plugin "flocker" not found`},
		{volume.CreateRequest{Name: "vv", DriverOpts: map[string]string{"foo": "bar"}}, errdefs.IsInvalidArgument, `invalid option: "foo"`},
		{volume.CreateRequest{Name: "vv", DriverOpts: map[string]string{"type": "tmpfs"}}, errdefs.IsInvalidArgument, "missing device"},
		{volume.CreateRequest{Name: "taken", DriverOpts: map[string]string{"type": "nfs", "device": ":/x"}}, errdefs.IsConflict, "must be unique"},
		{volume.CreateRequest{Name: "vv", ClusterVolumeSpec: &volume.ClusterVolumeSpec{}}, errdefs.IsNotImplemented, "cluster volumes"},
	} {
		_, err := s.Create(c.req)
		if err == nil || !c.class(err) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%+v: %v", c.req, err)
		}
	}
}

func TestVolumesOutliveTheStore(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	want := create(t, s, "data", map[string]string{"a": "b"}, nil)
	anonymous := create(t, s, "", nil, nil)
	if len(anonymous.Name) != 64 {
		t.Errorf("name %q", anonymous.Name)
	}
	if err := os.Mkdir(filepath.Join(dir, "half"), 0o700); err != nil { // a create that was killed
		t.Fatal(err)
	}
	got, err := open(t, dir).Get("data")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, err := s.Get("half"); err == nil || err.Error() != "get half: no such volume" || !errdefs.IsNotFound(err) {
		t.Error(err)
	}
}

func TestListAndPrune(t *testing.T) {
	s := open(t, t.TempDir())
	create(t, s, "used", map[string]string{"k": "1"}, nil)
	create(t, s, "free", map[string]string{"k": "2"}, nil)
	anonymous := create(t, s, "", nil, nil).Name
	s.SetInUse(func(name string) []string {
		if name == "used" {
			return []string{"c1"}
		}
		return nil
	})
	for _, c := range []struct {
		f    Filters
		want []string
	}{
		{Filters{"name": {"se"}}, []string{"used"}},
		{Filters{"label": {"k"}}, []string{"free", "used"}},
		{Filters{"label": {"k=2"}}, []string{"free"}},
		{Filters{"dangling": {"true"}, "label": {"k"}}, []string{"free"}},
		{Filters{"dangling": {"0"}}, []string{"used"}},
		{Filters{"driver": {"other"}}, []string{}},
	} {
		got, err := s.List(c.f)
		if d := cmp.Diff(c.want, names(got)); d != "" || err != nil {
			t.Errorf("%v: %v %s", c.f, err, d)
		}
	}
	if _, err := s.List(Filters{"nope": {"x"}}); !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
	if err := s.Remove("used", false); !errdefs.IsConflict(err) || !strings.Contains(err.Error(), "volume is in use - [c1]") {
		t.Error(err)
	}
	for _, c := range []struct {
		f    Filters
		want []string
	}{{nil, []string{anonymous}}, {Filters{"all": {"true"}}, []string{"free"}}} {
		got, err := s.Prune(c.f)
		if d := cmp.Diff(c.want, got.VolumesDeleted); d != "" || err != nil {
			t.Errorf("prune %v: %v %s", c.f, err, d)
		}
	}
	if err := s.Remove("free", false); !errdefs.IsNotFound(err) {
		t.Error(err)
	}
	if err := s.Remove("free", true); err != nil {
		t.Error(err)
	}
}

func TestMountCountsUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("mount(2) needs root")
	}
	dir := t.TempDir()
	s := open(t, dir)
	v := create(t, s, "tmp", nil, map[string]string{"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=33"})
	mounted := func(want bool) {
		t.Helper()
		if got, err := mountinfo.Mounted(v.Mountpoint); err != nil || got != want {
			t.Fatalf("mounted: %v, %v", got, err)
		}
	}
	mounted(false)
	for _, user := range []string{"a", "b", "a"} {
		if p, err := s.Mount(t.Context(), "tmp", user); err != nil || p != v.Mountpoint {
			t.Fatal(p, err)
		}
	}
	mounted(true)
	again := open(t, dir) // a new daemon finds it mounted and its users still running
	for _, user := range []string{"a", "b"} {
		if _, err := again.Mount(t.Context(), "tmp", user); err != nil {
			t.Fatal(err)
		}
	}
	for _, user := range []string{"a", "nobody", "b"} {
		mounted(true)
		if err := again.Unmount("tmp", user); err != nil {
			t.Fatal(err)
		}
	}
	mounted(false)
	bad := create(t, s, "bad", nil, map[string]string{"type": "none", "o": "bind", "device": "/no/such/dir"})
	if _, err := s.Mount(t.Context(), bad.Name, "a"); err == nil || !strings.Contains(err.Error(), "failed to mount local volume") {
		t.Error(err)
	}
}

func TestPopulateOnlyWhenEmpty(t *testing.T) {
	s := open(t, t.TempDir())
	v := create(t, s, "data", nil, nil)
	src := t.TempDir()
	if err := os.WriteFile(filepath.Join(src, "f"), []byte("image"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := s.Populate("data", src); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(v.Mountpoint, "f")
	if b, err := os.ReadFile(file); err != nil || string(b) != "image" {
		t.Fatal(string(b), err)
	}
	if err := os.WriteFile(file, []byte("own"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := s.Populate("data", src); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(file); string(b) != "own" {
		t.Error("the volume's own content was overwritten")
	}
}
