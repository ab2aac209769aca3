package relay_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/ca"
	"shoal/internal/cluster"
	"shoal/internal/relay"
	"shoal/internal/rpc"
	"shoal/internal/store"
	"shoal/internal/store/storetest"
)

// askFunc asks by calling a function.
type askFunc func(nodeID, call string) error

func (f askFunc) Ask(nodeID, call string) error { return f(nodeID, call) }

// newRelay makes a manager and the worker w1 behind a real port; asked calls are answered by handler.
func newRelay(t *testing.T, handler http.Handler) *relay.Relay {
	t.Helper()
	s := storetest.New(t)
	c := &cluster.Cluster{}
	c.ID = "c1"
	if err := ca.NewCluster(c, nil, nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	storetest.Update(t, s, func(tx *store.Tx) { store.Clusters.Put(tx, c) })
	root, err := ca.Signer(c.Root)
	if err != nil {
		t.Fatal(err)
	}
	identity := func(id string, role swarm.NodeRole) *ca.Identity {
		key, csr, err := ca.NewRequest()
		if err != nil {
			t.Fatal(err)
		}
		chain, err := root.Sign(csr, ca.Subject{NodeID: id, ClusterID: "c1", Role: role}, 0, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		i, err := ca.NewIdentity(ca.Bundle{Chain: chain, Key: key, Root: root.PEM})
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var client *rpc.Client
	r := relay.New(askFunc(func(nodeID, call string) error {
		if nodeID != "w1" {
			return cluster.Errorf(errdefs.ErrUnavailable, "node %s is not available", nodeID)
		}
		go func() {
			conn, err := client.Answer(context.Background(), call)
			if err == nil {
				relay.Serve(conn, handler)
			}
		}()
		return nil
	}))
	server := rpc.NewServer(rpc.Config{Identity: identity("m1", swarm.NodeRoleManager), Store: s, Calls: r})
	go server.Serve(ln)
	t.Cleanup(func() { server.Close() })
	if client, err = rpc.Dial(t.Context(), identity("w1", swarm.NodeRoleWorker), ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return r
}

func TestRequest(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 1<<16)
	r := newRelay(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		b, _ := io.ReadAll(req.Body)
		io.WriteString(w, req.URL.Path+string(b))
	}))
	client := &http.Client{Transport: r.Transport("w1")}
	for range 3 {
		resp, err := client.Post("http://node/echo/", "text/plain", strings.NewReader(big))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(b) != "/echo/"+big {
			t.Fatalf("%d bytes came back, %v", len(b), err)
		}
	}
	if _, err := (&http.Client{Transport: r.Transport("w2")}).Get("http://node/"); !errors.Is(err, errdefs.ErrUnavailable) {
		t.Errorf("a node without a session: %v", err)
	}
}

// TestStream: what is flushed arrives at once, and an end on the manager's side ends the node's handler.
func TestStream(t *testing.T) {
	ended := make(chan struct{})
	r := newRelay(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		io.WriteString(w, "line\n")
		w.(http.Flusher).Flush()
		<-req.Context().Done()
		close(ended)
	}))
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://node/logs?follow=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := r.Transport("w1").RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(resp.Body).ReadString('\n'); line != "line\n" {
		t.Errorf("%q, %v", line, err)
	}
	cancel()
	resp.Body.Close()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the node's handler goes on")
	}
}

// TestUpgrade is what exec and attach need: a raw connection in both directions.
func TestUpgrade(t *testing.T) {
	r := newRelay(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		rw.WriteString("HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
		rw.Flush()
		line, _ := rw.ReadString('\n')
		rw.WriteString("got " + line)
		rw.Flush()
	}))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://node/exec/x/start", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "tcp")
	resp, err := r.Transport("w1").RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	raw := resp.Body.(io.ReadWriteCloser)
	defer raw.Close()
	io.WriteString(raw, "hello\n")
	if b, err := io.ReadAll(raw); string(b) != "got hello\n" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestAnswerThatNobodyWaitsFor(t *testing.T) {
	r := relay.New(askFunc(func(string, string) error { return nil }))
	a, _ := net.Pipe()
	if err := r.Answer("w1", "x", a); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("%v", err)
	}
}
