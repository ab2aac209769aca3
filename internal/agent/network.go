package agent

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"shoal/internal/cluster"
)

// dataPlane brings the newest network state to the kernel. Older ones that were not begun are skipped.
type dataPlane struct {
	network Network
	log     *slog.Logger
	wake    chan struct{} // holds one token: there is a newer state
	moved   chan struct{} // holds one token: applied has moved

	mu      sync.Mutex
	want    *cluster.NetworkState
	applied uint64
	settled chan struct{} // closed when want is applied, or failed once
}

func newDataPlane(n Network, log *slog.Logger) *dataPlane {
	d := &dataPlane{network: n, log: log, wake: make(chan struct{}, 1), moved: make(chan struct{}, 1)}
	d.settled = make(chan struct{})
	close(d.settled)
	return d
}

// set asks for a state and returns a channel that is closed when it, or a newer one, was tried.
func (d *dataPlane) set(state *cluster.NetworkState) <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.want = state
	select {
	case <-d.settled:
		d.settled = make(chan struct{})
	default:
	}
	token(d.wake)
	return d.settled
}

// index is that of the newest state which is applied.
func (d *dataPlane) index() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.applied
}

// retryTime is how long a state that failed waits for its next try.
const retryTime = time.Second

// run applies states until ctx ends. One that fails is tried again until a newer one comes.
func (d *dataPlane) run(ctx context.Context) {
	retry := time.NewTimer(0)
	<-retry.C
	for {
		select {
		case <-d.wake:
		case <-retry.C:
		case <-ctx.Done():
			return
		}
		d.mu.Lock()
		want := d.want
		d.mu.Unlock()
		if want == nil {
			continue
		}
		err := d.network.Set(ctx, *want)
		if ctx.Err() != nil {
			return
		}
		d.mu.Lock()
		if err == nil {
			d.applied = want.Index
		}
		if d.want == want {
			if err == nil {
				d.want = nil
			}
			select {
			case <-d.settled:
			default:
				close(d.settled)
			}
		}
		d.mu.Unlock()
		if err != nil {
			d.log.Warn("the network cannot be brought to what the manager wants; trying again", "index", want.Index, "err", err)
			retry.Reset(retryTime)
			continue
		}
		token(d.moved)
	}
}

// token puts one into a channel that holds one.
func token(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
