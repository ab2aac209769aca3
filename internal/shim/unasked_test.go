package shim

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
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

func TestOnlyTheServingShimLooksAfterItself(t *testing.T) {
	for args, want := range map[string]bool{
		"-namespace shoal -id abc -address /x": true, "-namespace shoal -id abc start": false, "-id abc -bundle /b delete": false, "-v": false,
	} {
		if got := serves(strings.Fields(args)); got != want {
			t.Errorf("%s: %v, want %v", args, got, want)
		}
	}
}
