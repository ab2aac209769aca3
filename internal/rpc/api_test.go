package rpc

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"
)

// TestAPIProxyGivesUpAReplacedLeader: a leader that stands still is not waited for when another leads; one that has begun to
// answer may go on, whoever leads.
func TestAPIProxyGivesUpAReplacedLeader(t *testing.T) {
	r := newRig(t)
	asked, answer := make(chan struct{}, 1), make(chan struct{})
	r.server.http.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/stream" {
			io.WriteString(w, "first ")
			http.NewResponseController(w).Flush()
		}
		asked <- struct{}{}
		<-answer
		io.WriteString(w, "second")
	})
	left := make(chan struct{})
	front := httptest.NewServer(APIProxy(r.node(t, "m2", swarm.NodeRoleManager),
		func(context.Context) (string, <-chan struct{}) { return r.addr, left },
		func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}))
	defer front.Close()
	defer close(answer)
	body, begun := make(chan string, 1), make(chan struct{}, 1)
	get := func(path string) {
		resp, err := http.Get(front.URL + path)
		if err != nil {
			body <- err.Error()
			return
		}
		defer resp.Body.Close()
		begun <- struct{}{}
		b, _ := io.ReadAll(resp.Body)
		body <- resp.Status + " " + string(b)
	}
	go get("/services")
	<-asked
	close(left)
	select {
	case got := <-body:
		if !strings.HasPrefix(got, "503") || !strings.Contains(got, "replaced before it answered") {
			t.Errorf("got %q", got)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it waits for a leader that was replaced")
	}
	<-begun
	left = make(chan struct{})
	go get("/stream")
	<-asked
	<-begun
	close(left)
	answer <- struct{}{} // the first request's, which is still at it
	answer <- struct{}{}
	if got := <-body; got != "200 OK first second" {
		t.Errorf("got %q", got)
	}
}

// TestAPIProxyKeepsConnections: a handshake for each request would cost more than the request.
func TestAPIProxyKeepsConnections(t *testing.T) {
	r := newRig(t)
	var conns atomic.Int32
	r.server.http.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	r.server.http.Handler = http.NotFoundHandler()
	front := httptest.NewServer(APIProxy(r.node(t, "m2", swarm.NodeRoleManager),
		func(context.Context) (string, <-chan struct{}) { return r.addr, nil },
		func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}))
	defer front.Close()
	for range 20 {
		resp, err := http.Get(front.URL)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("20 requests took %d connections", n)
	}
}
