package bench

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"golang.org/x/sys/unix"

	"shoal/internal/cli/playground"
	"shoal/internal/sample"
	"shoal/test/e2e/images"
)

// toolboxImages serves the end-to-end tests' images, which have a health check's command in them, where a playground's own
// registry would serve the sample image.
func toolboxImages(tb testing.TB) func(context.Context, *playground.Playground) error {
	tb.Helper()
	out := filepath.Join(tb.TempDir(), "toolbox")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, "../test/e2e/toolbox")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if b, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("toolbox: %v\n%s", err, b)
	}
	registry := sample.NewRegistry()
	must(tb, images.Fill(tb.Context(), registry, out))
	return func(ctx context.Context, p *playground.Playground) error {
		l, err := p.Switch().Listen(ctx, "tcp", p.Registry())
		if err != nil {
			return err
		}
		go registry.Serve(ctx, l) // it ends with ctx
		return nil
	}
}

// overlay makes a network that single containers may join too, and returns its ID.
func (e engineAPI) overlay(ctx context.Context, name string) (string, error) {
	var made struct{ ID string }
	err := e.call(ctx, http.MethodPost, "/networks/create", map[string]any{
		"Name": name, "Driver": "overlay", "Attachable": true, "CheckDuplicate": true,
	}, &made)
	return made.ID, err
}

// guest starts a single container in a network, and returns a file of its network namespace.
func (n *node) guest(ctx context.Context, image, network string) (space string, _ error) {
	var made struct{ ID string }
	err := n.api.call(ctx, http.MethodPost, "/containers/create?name=guest", map[string]any{
		"Image": image, "HostConfig": map[string]any{"NetworkMode": network},
	}, &made)
	if err != nil {
		return "", err
	}
	if err := n.api.call(ctx, http.MethodPost, "/containers/"+made.ID+"/start", nil, nil); err != nil {
		return "", err
	}
	var is struct{ NetworkSettings struct{ SandboxKey string } }
	if err := n.api.call(ctx, http.MethodGet, "/containers/"+made.ID+"/json", nil, &is); err != nil {
		return "", err
	}
	key := is.NetworkSettings.SandboxKey
	if rest, old := strings.CutPrefix(key, "/var/run/"); old { // a link, which would be followed on this machine
		key = "/run/" + rest
	}
	return n.file(key)
}

// addressOf is a container's address in a network.
func (n *node) addressOf(ctx context.Context, container, network string) (string, error) {
	var is struct {
		NetworkSettings struct {
			Networks map[string]struct{ IPAddress string }
		}
	}
	err := n.api.call(ctx, http.MethodGet, "/containers/"+container+"/json", nil, &is)
	return is.NetworkSettings.Networks[network].IPAddress, err
}

// file is where this process finds a file of the machine.
func (n *node) file(path string) (string, error) {
	first, err := n.firstProcess()
	return fmt.Sprintf("/proc/%d/root%s", first, path), err
}

// within runs do on a thread in a network namespace: a socket belongs to the one that it was made in.
func within(space string, do func() error) error {
	f, err := os.Open(space)
	if err != nil {
		return err
	}
	defer f.Close()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread, changed for good, ends with this goroutine
		if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("%s: %w", space, err)
			return
		}
		done <- do()
	}()
	return <-done
}

// dialIn opens connections from within a network namespace.
func dialIn(space string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (c net.Conn, err error) {
		err = within(space, func() (err error) {
			c, err = new(net.Dialer).DialContext(ctx, network, address)
			return err
		})
		return c, err
	}
}

// vip is a service's address in a network.
func (e engineAPI) vip(ctx context.Context, service, network string) (netip.Addr, error) {
	var s swarm.Service
	if err := e.call(ctx, http.MethodGet, "/services/"+service, nil, &s); err != nil {
		return netip.Addr{}, err
	}
	for _, v := range s.Endpoint.VirtualIPs {
		if v.NetworkID == network {
			return v.Addr.Addr(), nil
		}
	}
	return netip.Addr{}, fmt.Errorf("service %s has no address in network %s", service, network)
}

// change updates a service's spec.
func (e engineAPI) change(ctx context.Context, service string, edit func(*swarm.ServiceSpec)) error {
	var s swarm.Service
	if err := e.call(ctx, http.MethodGet, "/services/"+service, nil, &s); err != nil {
		return err
	}
	edit(&s.Spec)
	return e.call(ctx, http.MethodPost, fmt.Sprintf("/services/%s/update?version=%d", service, s.Version.Index), s.Spec, nil)
}

// updated waits until a service's update has completed.
func (e engineAPI) updated(ctx context.Context, service string, since time.Time) error {
	return await(ctx, "the update does not end", func() bool {
		var s swarm.Service
		err := e.call(ctx, http.MethodGet, "/services/"+service, nil, &s)
		return err == nil && s.UpdateStatus != nil && s.UpdateStatus.State == swarm.UpdateStateCompleted &&
			s.UpdateStatus.StartedAt != nil && s.UpdateStatus.StartedAt.After(since)
	})
}
