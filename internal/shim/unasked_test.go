package shim

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

type ending struct{ done chan struct{} }

func (e ending) Shutdown()             { close(e.done) }
func (e ending) Done() <-chan struct{} { return e.done }

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
				asked, e := make(chan struct{}), ending{make(chan struct{})}
				if c.asked {
					close(asked)
				}
				over := make(chan struct{})
				go func() { endUnasked(dir, asked, e); close(over) }()
				<-time.After(10 * unaskedLook) // of the bubble's clock
				ended := false
				select {
				case <-e.done:
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
