package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"shoal/internal/cluster"
)

// Changer is a data plane that takes changes of the state; a [Network] that is none is set the whole one each time.
type Changer interface {
	// Change returns when kernel and DNS hold the state that the delta leads to. The same delta may come again after an
	// error. One of class failed precondition says that the delta does not lead on from what the data plane holds.
	Change(ctx context.Context, d cluster.NetworkDelta) error
}

// dataPlane brings the newest network state to the kernel: whole states, of which older ones that were not begun are
// skipped, and the changes after them, in order.
type dataPlane struct {
	network Network
	log     *slog.Logger
	wake    chan struct{} // holds one token: there is a newer state
	moved   chan struct{} // holds one token: applied has moved
	lost    chan struct{} // holds one token: a whole state is needed

	mu      sync.Mutex
	want    []step
	applied uint64
	settled chan struct{} // closed when all of want is applied, or its first failed once
	// whole is the newest state, for a network that takes no changes.
	whole cluster.NetworkState
}

// step is a whole state or a change of it.
type step struct {
	state  *cluster.NetworkState
	change *cluster.NetworkDelta
}

func (s step) index() uint64 {
	if s.state != nil {
		return s.state.Index
	}
	return s.change.Index
}

func newDataPlane(n Network, log *slog.Logger) *dataPlane {
	d := &dataPlane{network: n, log: log, wake: make(chan struct{}, 1), moved: make(chan struct{}, 1), lost: make(chan struct{}, 1)}
	d.settled = make(chan struct{})
	close(d.settled)
	return d
}

// set asks for a state and returns a channel that is closed when it, or a newer one, was tried.
func (d *dataPlane) set(state *cluster.NetworkState) <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.lost:
	default:
	}
	d.want, d.whole = d.want[:0:0], *state
	return d.ask(step{state: state})
}

// change likewise asks for what a delta leads to. It is an error of class failed precondition when the delta does not
// lead on from what was asked for last.
func (d *dataPlane) change(delta *cluster.NetworkDelta) (<-chan struct{}, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, can := d.network.(Changer); can {
		if d.whole.Index != delta.Base {
			return nil, cluster.Errorf(errdefs.ErrFailedPrecondition, "a change of the network state at %d does not lead on from %d", delta.Base, d.whole.Index)
		}
		d.whole = cluster.NetworkState{Index: delta.Index} // the data plane has the rest
		return d.ask(step{change: delta}), nil
	}
	state, err := d.whole.With(*delta)
	if err != nil {
		return nil, err
	}
	d.want, d.whole = d.want[:0:0], state
	return d.ask(step{state: &state}), nil
}

func (d *dataPlane) ask(s step) <-chan struct{} {
	d.want = append(d.want, s)
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

// run applies states until ctx ends. One that fails is tried again until a newer whole one comes.
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
		for {
			s, any := d.first()
			if !any {
				break
			}
			err := d.do(ctx, s)
			if ctx.Err() != nil {
				return
			}
			d.done(s, err)
			if err != nil {
				d.log.Warn("the network cannot be brought to what the manager wants; trying again", "index", s.index(), "err", err)
				retry.Reset(retryTime)
				break
			}
			token(d.moved)
		}
	}
}

func (d *dataPlane) first() (step, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.want) == 0 {
		return step{}, false
	}
	return d.want[0], true
}

func (d *dataPlane) do(ctx context.Context, s step) error {
	if s.state != nil {
		return d.network.Set(ctx, *s.state)
	}
	return d.network.(Changer).Change(ctx, *s.change)
}

// done notes how a step went. What a newer whole state has replaced meanwhile is nobody's concern any more, but what it
// brought is there.
func (d *dataPlane) done(s step, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		d.applied = s.index()
	}
	if len(d.want) > 0 && d.want[0] == s {
		if err == nil {
			d.want = d.want[1:]
		}
		if err != nil && errors.Is(err, errdefs.ErrFailedPrecondition) {
			d.want, d.whole = nil, cluster.NetworkState{} // no later change leads on either
			token(d.lost)
		}
		if len(d.want) == 0 || err != nil {
			select {
			case <-d.settled:
			default:
				close(d.settled)
			}
		}
	}
}

// token puts one into a channel that holds one.
func token(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
