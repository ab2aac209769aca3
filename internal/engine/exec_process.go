package engine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/errdefs"
	"github.com/moby/term"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"shoal/internal/cluster"
)

// streams connects the process. A stream that is not wanted is not made, but for a terminal, which needs its output read.
func (x *execution) streams(s Streams, in *input) cio.Creator {
	opts := []cio.Opt{cio.WithFIFODir(filepath.Join(x.c.engine.cfg.ExecRoot, "fifo"))}
	stdin := s.Stdin
	if x.request.Tty {
		opts = append(opts, cio.WithTerminal)
		if s.Stdout == nil {
			s.Stdout = io.Discard
		}
		if stdin != nil && len(s.DetachKeys) > 0 {
			stdin = term.NewEscapeProxy(stdin, s.DetachKeys)
		}
	}
	if stdin != nil {
		in.Reader = stdin
		stdin = in
	}
	return cio.NewCreator(append(opts, cio.WithStreams(stdin, s.Stdout, s.Stderr))...)
}

// input is a client's input; at its end the process's is ended too, or the client let go.
type input struct {
	io.Reader
	close func()
	done  chan<- error
}

func (i *input) Read(p []byte) (int, error) {
	n, err := i.Reader.Read(p)
	if _, ok := errors.AsType[term.EscapeError](err); ok {
		select {
		case i.done <- nil:
		default: // it has ended
		}
		return n, io.EOF
	}
	if err != nil && i.close != nil {
		i.close()
	}
	return n, err
}

// execError gives an error of the runtime the class that clients expect.
func execError(err error) error {
	return cluster.Errorf(errdefs.ErrInvalidArgument, "%s", err)
}

func execCode(err error) int {
	text := err.Error()
	for _, missing := range []string{"executable file not found", "no such file or directory", "not a directory"} {
		if strings.Contains(text, missing) {
			return 127
		}
	}
	return 126
}

// spec is the container's own process with what the request changes.
func (x *execution) spec(own *specs.Process, size *[2]uint) (*specs.Process, error) {
	if own == nil {
		return nil, cluster.Errorf(errdefs.ErrConflict, "container %s is not running", x.c.ID())
	}
	r, p := x.request, *own
	p.Args, p.Terminal, p.ConsoleSize = r.Cmd, r.Tty, nil
	if r.Tty && size != nil && size[0] > 0 {
		p.ConsoleSize = &specs.Box{Height: size[0], Width: size[1]}
	}
	p.Env = override(own.Env, r.Env)
	if r.Tty && !slices.ContainsFunc(p.Env, func(v string) bool { return strings.HasPrefix(v, "TERM=") }) {
		p.Env = append(p.Env, "TERM=xterm")
	}
	if r.WorkingDir != "" {
		if !filepath.IsAbs(r.WorkingDir) {
			return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "the working directory '%s' is invalid, it needs to be an absolute path", r.WorkingDir)
		}
		p.Cwd = r.WorkingDir
	}
	if r.User != "" {
		u, err := x.user()
		if err != nil {
			return nil, err
		}
		p.User = specs.User{UID: u.UID, GID: u.GID, AdditionalGids: u.Groups, Umask: own.User.Umask}
		p.Env = override(p.Env, append([]string{"HOME=" + u.Home}, r.Env...))
		if u.UID != 0 && !r.Privileged && p.Capabilities != nil { // as after setuid(2) to another user
			caps := *p.Capabilities
			caps.Effective, caps.Permitted, caps.Ambient = nil, nil, nil
			p.Capabilities = &caps
		}
	}
	if r.Privileged {
		all, err := capabilities(nil, nil, true)
		if err != nil {
			return nil, err
		}
		p.Capabilities = &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all}
		p.ApparmorProfile, p.SelinuxLabel = "", ""
	}
	return &p, nil
}

// user is who the request names, by the files of the container as it runs.
func (x *execution) user() (User, error) {
	rec := x.c.Record()
	root, err := os.OpenRoot(filepath.Join("/proc", strconv.Itoa(rec.State.Pid), "root"))
	if err != nil {
		return User{}, fmt.Errorf("files of container %s: %w", rec.ID, err)
	}
	defer root.Close()
	return findUser(root, x.request.User, rec.HostConfig.GroupAdd)
}

// detachKeys reads a sequence like "ctrl-p,ctrl-q"; empty: that one.
func detachKeys(keys string) ([]byte, error) {
	if keys == "" {
		keys = "ctrl-p,ctrl-q"
	}
	b, err := term.ToBytes(keys)
	if err != nil {
		return nil, cluster.Errorf(errdefs.ErrInvalidArgument, "invalid detach keys (%s): %s", keys, err)
	}
	return b, nil
}

// DetachKeys reads the keys that let go of a terminal, as "ctrl-p,ctrl-q", which is meant by an empty string too.
func DetachKeys(keys string) ([]byte, error) { return detachKeys(keys) }
