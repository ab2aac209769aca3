package sample

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"path"
	"runtime"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// born is the creation time of every image: the same files make the same digest.
var born = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// File is one entry of an image's root: a folder when Dir is set, a symbolic link when Link is, else a file.
type File struct {
	Path string // without a leading slash
	Mode int64  // permission bits
	Data []byte
	Link string // target of a symbolic link
	Dir  bool
}

// Image returns an image of one layer that holds files in the given order, with conf as its run configuration.
func Image(conf v1.Config, files ...File) (v1.Image, error) {
	layer, err := pack(files)
	if err != nil {
		return nil, err
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer)), nil })
	if err != nil {
		return nil, fmt.Errorf("layer: %w", err)
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	file = file.DeepCopy()
	file.Architecture, file.OS = runtime.GOARCH, "linux"
	file.Created = v1.Time{Time: born}
	file.Config = conf
	return mutate.ConfigFile(img, file)
}

func pack(files []File) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	made := map[string]bool{".": true}
	for _, f := range files {
		if err := packParents(w, made, path.Dir(f.Path)); err != nil {
			return nil, err
		}
		h := &tar.Header{Name: f.Path, Mode: f.Mode, Size: int64(len(f.Data)), ModTime: born, Typeflag: tar.TypeReg}
		switch {
		case f.Dir:
			h.Typeflag, h.Size, made[f.Path] = tar.TypeDir, 0, true
		case f.Link != "":
			h.Typeflag, h.Size, h.Linkname = tar.TypeSymlink, 0, f.Link
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("layer: %s: %w", f.Path, err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write(f.Data); err != nil {
				return nil, fmt.Errorf("layer: %s: %w", f.Path, err)
			}
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("layer: %w", err)
	}
	return out.Bytes(), nil
}

func packParents(w *tar.Writer, made map[string]bool, dir string) error {
	if made[dir] {
		return nil
	}
	if err := packParents(w, made, path.Dir(dir)); err != nil {
		return err
	}
	made[dir] = true
	return w.WriteHeader(&tar.Header{Name: dir, Mode: 0o755, ModTime: born, Typeflag: tar.TypeDir})
}

// Web returns the sample application as an image of the given version, program being the static binary shoal-sample.
func Web(program []byte, version string) (v1.Image, error) {
	conf := v1.Config{
		Cmd: []string{"/web"}, Env: []string{"PATH=/", "VERSION=" + version},
		ExposedPorts: map[string]struct{}{"80/tcp": {}},
		Labels:       map[string]string{"org.opencontainers.image.title": "Shoal sample web server", "org.opencontainers.image.version": version},
	}
	return Image(conf,
		File{Path: "web", Mode: 0o755, Data: program},
		File{Path: "tmp", Mode: 0o1777, Dir: true},
		File{Path: "etc/passwd", Mode: 0o644, Data: []byte("root:x:0:0:root:/:/web\nnobody:x:65534:65534:nobody:/:/web\n")},
	)
}
