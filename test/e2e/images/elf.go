package images

import (
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"shoal/internal/sample"
)

// programs returns files with which the named programs of this host run in an empty root: they, their dynamic loader and
// every library that they need.
func programs(names ...string) ([]sample.File, error) {
	c := collector{seen: map[string]bool{}}
	for _, n := range names {
		path, err := exec.LookPath(n)
		if err != nil {
			return nil, fmt.Errorf("%s is missing (tools/prerequisites installs it): %w", n, err)
		}
		if err := c.add(path, "usr/bin/"+filepath.Base(n)); err != nil {
			return nil, err
		}
	}
	return c.files, nil
}

type collector struct {
	seen  map[string]bool
	files []sample.File
}

// add takes one ELF file and, in turn, what it is linked with.
func (c *collector) add(from, to string) error {
	if c.seen[to] {
		return nil
	}
	c.seen[to] = true
	data, err := os.ReadFile(from) // follows links
	if err != nil {
		return err
	}
	c.files = append(c.files, sample.File{Path: to, Mode: 0o755, Data: data})
	f, err := elf.Open(from)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	defer f.Close()
	if loader := interpreter(f); loader != "" {
		if err := c.add(loader, loader[1:]); err != nil {
			return err
		}
	}
	libs, err := f.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	for _, lib := range libs {
		path, err := library(lib)
		if err != nil {
			return fmt.Errorf("%s: %w", from, err)
		}
		if err := c.add(path, "usr/lib/"+lib); err != nil {
			return err
		}
	}
	return nil
}

// interpreter is the dynamic loader that f asks for; "" for a library.
func interpreter(f *elf.File) string {
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			b := make([]byte, p.Filesz)
			if _, err := p.ReadAt(b, 0); err == nil {
				return strings.TrimRight(string(b), "\x00")
			}
		}
	}
	return ""
}

// library finds a shared library in Debian's folders.
func library(name string) (string, error) {
	for _, dir := range []string{"/usr/lib/*-linux-gnu", "/lib/*-linux-gnu", "/usr/lib", "/lib64"} {
		found, err := filepath.Glob(filepath.Join(dir, name))
		if err != nil {
			return "", err
		}
		if len(found) > 0 {
			return found[0], nil
		}
	}
	return "", fmt.Errorf("library %s: %w", name, fs.ErrNotExist)
}
