package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"shoal/internal/cli/playground"
)

// packages are docker.io and what it needs beside a minimal Debian.
var packages = []string{
	"docker.io", "containerd", "runc", "tini", "iptables", "libip4tc2", "libip6tc2", "libnetfilter-conntrack3", "libnfnetlink0",
	"libnftnl11", "libxtables12", "libdevmapper1.02.1",
}

// docker is Debian's docker.io, unpacked and not installed.
func docker(tb testing.TB) subject {
	tb.Helper()
	dir, err := filepath.Abs(*reference)
	must(tb, err)
	if _, err := os.Stat(filepath.Join(dir, "usr/sbin/dockerd")); err != nil {
		must(tb, unpack(tb, dir))
	}
	return subject{"docker.io", func(ctx context.Context, p *playground.Playground, m *playground.Machine) error {
		return startDocker(ctx, p, m, dir)
	}}
}

// unpack fetches the packages into dir, whole or not at all.
func unpack(tb testing.TB, dir string) error {
	tmp := dir + ".new"
	os.RemoveAll(tmp)
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return err
	}
	get := exec.Command("apt-get", append([]string{"download", "-q"}, packages...)...)
	get.Dir = tb.TempDir()
	if out, err := get.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get download (try apt-get update, or -alone): %w: %s", err, out)
	}
	files, err := filepath.Glob(filepath.Join(get.Dir, "*.deb"))
	if err != nil {
		return err
	}
	for _, f := range files {
		if out, err := exec.Command("dpkg", "-x", f, tmp).CombinedOutput(); err != nil {
			return fmt.Errorf("dpkg -x %s: %w: %s", f, err, out)
		}
	}
	// What the packages' own scripts would link.
	for _, name := range []string{"iptables", "ip6tables"} {
		if err := os.Symlink("xtables-nft-multi", filepath.Join(tmp, "usr/sbin", name)); err != nil {
			return err
		}
	}
	return os.Rename(tmp, dir)
}

func startDocker(ctx context.Context, p *playground.Playground, m *playground.Machine, dir string) error {
	log, err := os.OpenFile(m.Log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	usr := filepath.Join(dir, "usr")
	_, err = m.Spawn(ctx, playground.Command{
		Args: []string{
			filepath.Join(usr, "sbin/dockerd"), "--data-root", filepath.Join(m.Dir, "data"), "--exec-root", "/run/docker",
			"-H", "unix://" + m.Socket(), "--insecure-registry", p.Registry(),
		},
		Env: []string{
			"PATH=" + usr + "/sbin:" + usr + "/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"LD_LIBRARY_PATH=" + usr + "/lib/x86_64-linux-gnu:" + dir + "/lib/x86_64-linux-gnu",
			"XTABLES_LIBDIR=" + usr + "/lib/x86_64-linux-gnu/xtables",
		},
		Stdout: log, Stderr: log,
	})
	if err != nil {
		return err
	}
	limit, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := await(limit, "dockerd does not answer", func() bool { return m.Answers(limit) }); err != nil {
		text, _ := os.ReadFile(m.Log())
		return fmt.Errorf("%w; its log ends with:\n%s", err, text[max(0, len(text)-1500):])
	}
	return nil
}
