package sample

import (
	"bytes"
	"net"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func TestWhatIsAddedIsPulled(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := NewRegistry()
	img, err := Web([]byte("program"), "v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Add(t.Context(), "web", "v1", img); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- r.Serve(t.Context(), l) }()
	t.Cleanup(func() {
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	want, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	for _, repo := range []string{"web", "library/web"} {
		ref, err := name.NewTag(l.Addr().String()+"/"+repo+":v1", name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		got, err := remote.Image(ref, remote.WithContext(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		if d, err := got.Digest(); err != nil || d != want {
			t.Errorf("%s: digest %v (%v), want %v", repo, d, err, want)
		}
		var root bytes.Buffer
		rc := mutate.Extract(got)
		if _, err := root.ReadFrom(rc); err != nil {
			t.Fatal(err)
		}
		rc.Close()
		if !bytes.Contains(root.Bytes(), []byte("program")) {
			t.Errorf("%s: the program is not in the image", repo)
		}
	}
}

func TestSameFilesSameDigest(t *testing.T) {
	a, err := Web([]byte("p"), "v1")
	if err != nil {
		t.Fatal(err)
	}
	b, err := Web([]byte("p"), "v1")
	if err != nil {
		t.Fatal(err)
	}
	da, _ := a.Digest()
	db, _ := b.Digest()
	if da != db {
		t.Errorf("%v and %v differ", da, db)
	}
}
