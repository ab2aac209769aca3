package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// flow is one connection from the client, never replaced: every second one is asked again and again, the others wait for what
// the server may say.
type flow struct {
	conn net.Conn
	host string // who answers

	mu   sync.Mutex
	err  error         // why it ended
	slow time.Duration // the longest that an answer took
}

// flowPace is how often each flow asks; an answer after flowPatience counts as none.
const (
	flowPace     = 100 * time.Millisecond
	flowPatience = 30 * time.Second
	// flowEnd is how soon after a node is known to be down its flows must have ended. It is a second where nothing else
	// runs; clients left to themselves would try for minutes.
	flowEnd = 3 * time.Second
)

// flows is: flows start N URL | flows ended HOST | flows stop
func flows(ts *testscript.TestScript, s *story, args []string) error {
	switch {
	case args[0] == "start" && len(args) == 3:
		n, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		for i := range n {
			if err := s.startFlow(args[2], i%2 == 1); err != nil {
				return err
			}
		}
		return nil
	case args[0] == "ended" && len(args) == 2:
		return s.flowsEnded(ts, args[1])
	case args[0] == "stop" && len(args) == 1:
		return s.stopFlows(ts)
	}
	return errors.New("want start N URL, ended HOST, or stop")
}

func (s *story) startFlow(to string, waits bool) error {
	u, err := url.Parse(to)
	if err != nil {
		return err
	}
	c, err := s.dialFrom(s.Client())(s.ctx, "tcp", u.Host)
	if err != nil {
		return err
	}
	f := &flow{conn: c}
	r := bufio.NewReader(c)
	if err := f.ask(r); err != nil {
		return err
	}
	s.flow = append(s.flow, f)
	if waits {
		go f.wait(r)
		return nil
	}
	go func() {
		tick := time.NewTicker(flowPace)
		defer tick.Stop()
		for range tick.C {
			if f.ask(r) != nil {
				return
			}
		}
	}()
	return nil
}

func (f *flow) wait(r *bufio.Reader) {
	err := f.conn.SetDeadline(time.Time{})
	if err == nil {
		_, err = r.ReadByte()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *flow) ask(r *bufio.Reader) (err error) {
	began := time.Now()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.err, f.slow = err, max(f.slow, time.Since(began))
	}()
	if err := f.conn.SetDeadline(began.Add(flowPatience)); err != nil {
		return err
	}
	if _, err := fmt.Fprint(f.conn, "GET / HTTP/1.1\r\nHost: flow\r\n\r\n"); err != nil {
		return err
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	line, err := bufio.NewReader(resp.Body).ReadString('\n')
	if m := hostField.FindStringSubmatch(line); m != nil {
		f.host = m[1]
	}
	return err
}

func (f *flow) state() (time.Duration, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.slow, f.err
}

// flowsEnded waits until the flows to hosts that begin so have ended, and none else.
func (s *story) flowsEnded(ts *testscript.TestScript, host string) error {
	began := time.Now()
	over := time.After(flowEnd)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		there, left := 0, []net.Addr(nil)
		for _, f := range s.flow {
			_, err := f.state()
			switch {
			case !strings.HasPrefix(f.host, host) && err != nil:
				return fmt.Errorf("the flow to %s ended too: %w", f.host, err)
			case strings.HasPrefix(f.host, host):
				there++
				if err == nil {
					left = append(left, f.conn.RemoteAddr())
				}
			}
		}
		if there == 0 {
			return fmt.Errorf("no flow leads to %s", host)
		}
		if len(left) == 0 {
			fmt.Fprintf(ts.Stdout(), "ended: %d flows to %s, after %v\n", there, host, time.Since(began).Round(time.Millisecond))
			return nil
		}
		select {
		case <-over:
			return fmt.Errorf("%d of %d flows to %s still hang after %v: %v", len(left), there, host, flowEnd, left)
		case <-tick.C:
		}
	}
}

// stopFlows ends them and prints those that had ended by themselves, and the longest wait of the others.
func (s *story) stopFlows(ts *testscript.TestScript) error {
	var slow time.Duration
	alive := 0
	for _, f := range s.flow {
		took, err := f.state()
		if err != nil {
			fmt.Fprintf(ts.Stdout(), "ended: %s: %v\n", f.host, err)
		} else {
			alive++
			slow = max(slow, took)
		}
		f.conn.Close()
	}
	s.flow = nil
	fmt.Fprintf(ts.Stdout(), "alive: %d, slowest answer: %v\n", alive, slow.Round(time.Millisecond))
	return nil
}
