package images

import (
	"context"
	"fmt"
	"os"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"shoal/internal/sample"
)

// words of the toolbox that images have as commands, as links.
var words = []string{"sleep", "fail", "eat", "get", "lookup", "cat", "env", "id", "echo", "hostname", "write", "pwd", "serve", "stat", "sh", "load", "listen", "probe"}

// Fill puts every image into r; toolbox is the path of the built program.
func Fill(ctx context.Context, r *sample.Registry, toolbox string) error {
	program, err := os.ReadFile(toolbox)
	if err != nil {
		return err
	}
	for _, tag := range []string{"v1", "v2"} {
		img, err := sample.Image(config([]string{"serve"}, "VERSION="+tag), files(program, tag)...)
		if err != nil {
			return err
		}
		if err := r.Add(ctx, "web", tag, img); err != nil {
			return err
		}
	}
	// One that ends with status 1 soon after its start.
	broken, err := sample.Image(config([]string{"fail", "1", "0.3"}, "VERSION=broken"), files(program, "broken")...)
	if err != nil {
		return err
	}
	if err := r.Add(ctx, "web", "broken", broken); err != nil {
		return err
	}
	// One whose command is not there, and one of another architecture.
	missing, err := sample.Image(config([]string{"/bin/absent"}), files(program, "missing")...)
	if err != nil {
		return err
	}
	if err := r.Add(ctx, "web", "missing", missing); err != nil {
		return err
	}
	foreign, err := otherArch(missing)
	if err != nil {
		return err
	}
	if err := r.Add(ctx, "web", "arm64", foreign); err != nil {
		return err
	}
	if err := addRedis(ctx, r); err != nil {
		return err
	}
	return addPostgres(ctx, r)
}

// otherArch is img, said to be for a processor that this machine has not.
func otherArch(img v1.Image) (v1.Image, error) {
	conf, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	conf = conf.DeepCopy()
	if conf.Architecture = "arm64"; runtime.GOARCH == "arm64" {
		conf.Architecture = "amd64"
	}
	return mutate.ConfigFile(img, conf)
}

func addRedis(ctx context.Context, r *sample.Registry) error {
	for _, version := range []string{"3.0.7", "3.2.5"} {
		root, err := redisRoot(version == "3.0.7")
		if err != nil {
			return err
		}
		conf := config(nil, "REDIS_VERSION="+version)
		conf.Entrypoint = []string{"/usr/bin/redis-server", "--protected-mode", "no"}
		conf.ExposedPorts = map[string]struct{}{"6379/tcp": {}}
		conf.WorkingDir = "/data"
		img, err := sample.Image(conf, append(root, sample.File{Path: "data", Mode: 0o777, Dir: true},
			sample.File{Path: "tmp", Mode: 0o1777, Dir: true}, sample.File{Path: "version", Mode: 0o644, Data: []byte(version + "\n")})...)
		if err != nil {
			return err
		}
		if err := r.Add(ctx, "redis", version+"-alpine", img); err != nil {
			return fmt.Errorf("redis: %w", err)
		}
	}
	return nil
}

// olderRedis is a server of an earlier build, which tools/prerequisites fetches while Debian has one.
const olderRedis = "/var/cache/shoal-e2e/redis/redis-server"

// redisRoot is the files with which Redis runs: the installed server, or the older build where there is one.
func redisRoot(older bool) ([]sample.File, error) {
	server := "redis-server"
	if _, err := os.Stat(olderRedis); older && err == nil {
		server = olderRedis
	}
	return programs(server, "redis-cli")
}

func config(cmd []string, env ...string) v1.Config {
	return v1.Config{Cmd: cmd, Env: append([]string{"PATH=/bin:/usr/bin"}, env...)}
}

func files(program []byte, version string) []sample.File {
	out := []sample.File{
		{Path: "bin/toolbox", Mode: 0o755, Data: program},
		{Path: "tmp", Mode: 0o1777, Dir: true},
		{Path: "version", Mode: 0o644, Data: []byte(version + "\n")},
		{Path: "etc/passwd", Mode: 0o644, Data: []byte("root:x:0:0:root:/root:/bin/toolbox\nmail:x:8:8:mail:/:/bin/toolbox\n")},
		{Path: "etc/group", Mode: 0o644, Data: []byte("root:x:0:\nmail:x:8:\n")},
	}
	for _, w := range words {
		out = append(out, sample.File{Path: "bin/" + w, Mode: 0o777, Link: "toolbox"})
	}
	return out
}
