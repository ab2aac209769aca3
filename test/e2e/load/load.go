// Package load asks web servers steadily from where a test wants to see no request lost: half of the requests on new
// connections, half on connections that are kept. The end-to-end tests run it in their own process and, through the toolbox,
// inside containers.
package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// streams ask one address, every second of them on kept connections, each with a request every pace at most.
const (
	streams  = 4
	pace     = 10 * time.Millisecond
	patience = 10 * time.Second
)

// Dial opens connections; nil: the process's own network.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Load is requests on their way.
type Load struct {
	stop  context.CancelFunc
	began time.Time
	done  sync.WaitGroup

	mu     sync.Mutex
	result Result
}

// Result is what came of a load.
type Result struct {
	Asked, Failed int
	Took, Slowest time.Duration
	First         error // the first failure, with the time since the start
}

// String is "failed: X of Y", the rate, the longest that a request took, and a failure if there was one.
func (r Result) String() string {
	s := fmt.Sprintf("failed: %d of %d, %.0f/s, slowest %v", r.Failed, r.Asked, float64(r.Asked)/r.Took.Seconds(), r.Slowest.Round(time.Millisecond))
	if r.First != nil {
		s += "\n" + r.First.Error()
	}
	return s
}

// Start asks all urls until Stop, or ctx ends.
func Start(ctx context.Context, dial Dial, urls ...string) *Load {
	ctx, stop := context.WithCancel(ctx)
	l := &Load{stop: stop, began: time.Now()}
	for _, url := range urls {
		for i := range streams {
			l.done.Go(func() { l.stream(ctx, dial, url, i%2 == 1) })
		}
	}
	return l
}

// Stop waits for the answers that are due. A load may be stopped once.
func (l *Load) Stop() Result {
	l.stop()
	l.done.Wait()
	l.result.Took = time.Since(l.began)
	return l.result
}

func (l *Load) stream(ctx context.Context, dial Dial, url string, keep bool) {
	t := &http.Transport{DisableKeepAlives: !keep, DialContext: dial}
	defer t.CloseIdleConnections()
	c := &http.Client{Timeout: patience, Transport: t}
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		asked := time.Now()
		_, err := Get(context.WithoutCancel(ctx), c, url) // one that has been sent is waited for
		l.count(asked, url, keep, err)
	}
}

func (l *Load) count(asked time.Time, url string, keep bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.result.Asked++
	l.result.Slowest = max(l.result.Slowest, time.Since(asked))
	if err == nil {
		return
	}
	l.result.Failed++
	if l.result.First == nil {
		connection := "a new"
		if keep {
			connection = "a kept"
		}
		l.result.First = fmt.Errorf("%s, asked %v after the start on %s connection, failed after %v: %w", url, asked.Sub(l.began).Round(time.Millisecond), connection, time.Since(asked).Round(time.Millisecond), err)
	}
}

// Get is one request that is answered by 200 OK.
func Get(ctx context.Context, c *http.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return string(b), err
}

// Ask sends one datagram to a host:port and returns the answer.
func Ask(ctx context.Context, dial Dial, address string) (string, error) {
	c, err := dial(ctx, "udp", address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if _, err := c.Write([]byte("?")); err != nil {
		return "", err
	}
	b := make([]byte, 1500)
	n, err := c.Read(b)
	return string(b[:n]), err
}
