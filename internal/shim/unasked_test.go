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
		name          string
		bundle, asked bool
		ends          bool
	}{
		{"wanted, not yet asked", true, false, false},
		{"forgotten", false, false, true},
		{"asked; the bundle is containerd's business", false, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if c.bundle {
				if err := os.WriteFile(filepath.Join(dir, "config.json"), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Test(t, func(t *testing.T) {
				asked, done := make(chan struct{}), make(chan struct{})
				if c.asked {
					close(asked)
				}
				over := make(chan struct{})
				go func() { endUnasked(dir, asked, func() { close(done) }); close(over) }()
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
				if !ended && !c.asked {
					close(asked)
				}
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
