package e2e

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// load is requests from the client machine, one after the other in each of four streams.
type load struct {
	stop context.CancelFunc
	done sync.WaitGroup

	mu         sync.Mutex
	asked, bad int
	first      error // the first failure
}

const streams = 4

func loadWord(ts *testscript.TestScript, s *story, args []string) error {
	switch {
	case args[0] == "start" && len(args) == 2 && s.load == nil:
		s.startLoad(args[1])
		return nil
	case args[0] == "stop" && s.load != nil:
		l := s.load
		s.load = nil
		l.stop()
		l.done.Wait()
		fmt.Fprintf(ts.Stdout(), "failed: %d of %d\n", l.bad, l.asked)
		if l.first != nil {
			fmt.Fprintln(ts.Stdout(), l.first)
		}
		return nil
	}
	return errors.New("want start URL, or stop after it")
}

func (s *story) startLoad(url string) {
	ctx, stop := context.WithCancel(s.ctx)
	l := &load{stop: stop}
	s.load = l
	for range streams {
		l.done.Go(func() {
			c := s.fromClient()
			for ctx.Err() == nil {
				_, err := get(s.ctx, c, url) // one that has been sent is waited for
				l.count(err)
			}
		})
	}
}

func (l *load) count(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	if err != nil {
		l.bad++
		if l.first == nil {
			l.first = err
		}
	}
}
