package shim

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
)

func TestShimThatNobodyKnowsEnds(t *testing.T) {
	for _, c := range []struct {
		name         string
		bundle, busy bool
		ends         bool
	}{
		{"wanted", true, false, false},
		{"forgotten", false, false, true},
		{"forgotten with a process that lives", false, true, false},
		{"at work", true, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if c.bundle {
				if err := os.WriteFile(filepath.Join(dir, "config.json"), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Test(t, func(t *testing.T) {
				stop, done, over := make(chan struct{}), make(chan struct{}), make(chan struct{})
				go func() { endUnasked(dir, func() bool { return c.busy }, stop, func() { close(done) }); close(over) }()
				<-time.After(10 * unaskedLook) // of the bubble's clock
				ended := false
				select {
				case <-done:
					ended = true
				default:
				}
				if ended != c.ends {
					t.Errorf("ended: %v, want %v", ended, c.ends)
				}
				close(stop)
				<-over
			})
		})
	}
}

// starting is a runtime whose Start has one outcome.
type starting struct {
	taskapi.TTRPCTaskService
	err error
}

func (r starting) Start(context.Context, *taskapi.StartRequest) (*taskapi.StartResponse, error) {
	return &taskapi.StartResponse{}, r.err
}

// A start that failed, as when what it needs was cleared up meanwhile, leaves no process to stay for.
func TestAFailedStartKeepsNoShim(t *testing.T) {
	for _, err := range []error{nil, errors.New("no such file or directory")} {
		s := &service{TTRPCTaskService: starting{err: err}, keepers: map[string]*keeper{"c1": {}}}
		if _, got := s.Start(t.Context(), &taskapi.StartRequest{ID: "c1"}); !errors.Is(got, err) {
			t.Errorf("start: %v, want %v", got, err)
		}
		if s.busy() != (err == nil) {
			t.Errorf("start: %v; busy: %v", err, s.busy())
		}
	}
}

func TestOnlyTheServingShimLooksAfterItself(t *testing.T) {
	for args, want := range map[string]bool{
		"-namespace shoal -id abc -address /x": true, "-namespace shoal -id abc start": false, "-id abc -bundle /b delete": false, "-v": false,
	} {
		if got := serves(strings.Fields(args)); got != want {
			t.Errorf("%s: %v, want %v", args, got, want)
		}
	}
}
