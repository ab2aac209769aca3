package image

import (
	"context"
	"sync"
)

// flights lets those who want the same thing at the same time share one run of it. The run ends early when all of
// them have lost interest. The zero value is ready.
type flights struct {
	mu  sync.Mutex
	all map[string]*flight
}

type flight struct {
	waiting int // guarded by flights.mu
	cancel  context.CancelFunc
	done    chan struct{} // closed when img and err are set
	img     *Image
	err     error
}

// do returns what f returned, run now or already under way under this key.
func (fs *flights) do(ctx context.Context, key string, f func(context.Context) (*Image, error)) (*Image, error) {
	fs.mu.Lock()
	fl := fs.all[key]
	if fl == nil {
		if fs.all == nil {
			fs.all = map[string]*flight{}
		}
		run, cancel := context.WithCancel(context.WithoutCancel(ctx))
		fl = &flight{cancel: cancel, done: make(chan struct{})}
		fs.all[key] = fl
		go func() {
			fl.img, fl.err = f(run)
			fs.mu.Lock()
			fs.drop(key, fl)
			fs.mu.Unlock()
			close(fl.done)
			cancel()
		}()
	}
	fl.waiting++
	fs.mu.Unlock()
	select {
	case <-fl.done:
		return fl.img, fl.err
	case <-ctx.Done():
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fl.waiting--; fl.waiting == 0 {
		fl.cancel()
		fs.drop(key, fl) // who comes now starts anew
	}
	return nil, context.Cause(ctx)
}

func (fs *flights) drop(key string, fl *flight) {
	if fs.all[key] == fl {
		delete(fs.all, key)
	}
}
