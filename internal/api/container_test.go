package api

import (
	"bytes"
	"encoding/binary"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/jsonstream"
	"pgregory.net/rapid"

	"shoal/internal/controlplane"
	"shoal/internal/engine"
	"shoal/internal/image"
)

// Requests that are refused before anything is asked of the engine. The parts are empty: touching one would panic.
func TestRefusedRequests(t *testing.T) {
	images, err := image.New(image.Config{})
	if err != nil {
		t.Fatal(err)
	}
	srv := New(Config{Local: Local{Engine: &engine.Engine{}, Images: images}})
	for _, c := range []struct {
		method, path, body string
		status             int
		text               string
	}{
		{"POST", "/containers/create", ``, 400, "EOF"},
		{"POST", "/containers/create", `{`, 400, "invalid JSON"},
		{"POST", "/containers/create", `{}`, 400, "config cannot be empty in order to create a container"},
		{"POST", "/containers/create", `{"Image":7}`, 400, "invalid JSON"},
		{"GET", "/containers/json?filters=x", "", 400, "invalid filter"},
		{"GET", "/containers/json?filters=%7B%22nope%22%3A%5B%22a%22%5D%7D", "", 400, "invalid filter 'nope'"},
		{"GET", "/containers/json?limit=x", "", 400, "limit"},
		{"GET", "/containers/nosuch/json", "", 404, "No such container: nosuch"},
		{"POST", "/containers/nosuch/start", "", 404, "No such container: nosuch"},
		{"POST", "/containers/nosuch/stop?t=x", "", 400, "invalid value"},
		{"POST", "/containers/nosuch/wait?condition=x", "", 400, "invalid condition"},
		{"POST", "/containers/nosuch/resize?h=a&w=1", "", 400, "invalid value"},
		{"GET", "/containers/nosuch/logs", "", 400, "you must choose at least one stream"},
		{"GET", "/containers/nosuch/logs?stdout=1", "", 404, "No such container: nosuch"},
		{"POST", "/containers/nosuch/attach?detachKeys=bad-x", "", 400, "detach keys"},
		{"POST", "/containers/nosuch/exec", `{"Cmd":[]}`, 400, "No exec command specified"},
		{"POST", "/containers/nosuch/exec", `{"Cmd":["a"]}`, 404, "No such container: nosuch"},
		{"POST", "/exec/nosuch/start", `{}`, 404, "No such exec instance: nosuch"},
		{"GET", "/exec/nosuch/json", "", 404, "No such exec instance: nosuch"},
		{"GET", "/containers/nosuch/archive", "", 400, "path cannot be empty"},
		{"GET", "/containers/nosuch/changes", "", 501, "not supported"},
		{"GET", "/events?filters=%7B%22nope%22%3A%5B%22a%22%5D%7D", "", 400, "invalid filter 'nope'"},
		{"GET", "/events?since=x", "", 400, "since"},
		{"POST", "/images/create", "", 400, "fromImage"},
		{"POST", "/images/create?fromImage=BAD", "", 400, "lowercase"},
		{"GET", "/distribution/BAD/json", "", 400, "lowercase"},
		{"POST", "/auth", "x", 400, "invalid JSON"},
		{"POST", "/build", "", 501, "build"},
		{"GET", "/volumes", "", 501, "volumes"},
		{"PUT", "/volumes/x", "", 501, "cluster volumes"},
	} {
		r := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		srv.ServeHTTP(w, r)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.text) {
			t.Errorf("%s %s: %d %s", c.method, c.path, w.Code, w.Body)
		}
	}
	r := httptest.NewRequest(http.MethodPost, "/images/create?fromImage=x", nil)
	r.Header.Set("X-Registry-Auth", "!!")
	w := httptest.NewRecorder()
	srv.ServeHTTP(w, r)
	if w.Code != 400 || !strings.Contains(w.Body.String(), "X-Registry-Auth") {
		t.Errorf("bad credentials: %d %s", w.Code, w.Body)
	}
}

// What is written in frames comes out as it went in, by Docker's own reader.
func TestFramesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var wire, wantOut, wantErr bytes.Buffer
		stdout, stderr := outputs(&wire, false)
		for range rapid.IntRange(0, 20).Draw(t, "writes") {
			p := rapid.SliceOfN(rapid.Byte(), 0, 5000).Draw(t, "data")
			w, want := stdout, &wantOut
			if rapid.Bool().Draw(t, "stderr") {
				w, want = stderr, &wantErr
			}
			if n, err := w.Write(p); n != len(p) || err != nil {
				t.Fatal(n, err)
			}
			want.Write(p)
		}
		var gotOut, gotErr bytes.Buffer
		if _, err := stdcopy.StdCopy(&gotOut, &gotErr, &wire); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(gotOut.Bytes(), wantOut.Bytes()) || !bytes.Equal(gotErr.Bytes(), wantErr.Bytes()) {
			t.Fatal("streams changed")
		}
	})
}

func TestFrameHeader(t *testing.T) {
	var wire bytes.Buffer
	_, stderr := outputs(&wire, false)
	if _, err := io.WriteString(stderr, "abc"); err != nil {
		t.Fatal(err)
	}
	want := append([]byte{2, 0, 0, 0}, binary.BigEndian.AppendUint32(nil, 3)...)
	if d := cmp.Diff(append(want, "abc"...), wire.Bytes()); d != "" {
		t.Error(d)
	}
	wire.Reset()
	stdout, _ := outputs(&wire, true)
	io.WriteString(stdout, "raw")
	if wire.String() != "raw" {
		t.Errorf("a terminal's bytes are framed: %q", wire.String())
	}
}

func TestProgressErrors(t *testing.T) {
	w := httptest.NewRecorder()
	p := &progress{w: w}
	if err := p.end(errMethod); err == nil {
		t.Error("an error before the answer has begun is the status's")
	}
	p.add(jsonstream.Message{Status: "Pulling", ID: "x"})
	if err := p.end(errMethod); err != nil {
		t.Error(err)
	}
	want := `{"status":"Pulling","id":"x"}` + "\r\n" + `{"errorDetail":{"code":405,"message":"method not allowed"},"error":"method not allowed"}` + "\r\n"
	if d := cmp.Diff(want, w.Body.String()); d != "" {
		t.Error(d)
	}
}

func TestEventFilters(t *testing.T) {
	start := events.Message{
		Type: events.ContainerEventType, Action: "start", Scope: "local",
		Actor: events.Actor{ID: "c0ffee123", Attributes: map[string]string{"name": "web", "image": "nginx:1", "tier": "front"}},
	}
	create := events.Message{Type: events.ServiceEventType, Action: "create", Scope: "swarm", Actor: events.Actor{ID: "svc1", Attributes: map[string]string{"name": "api"}}}
	health := events.Message{Type: events.ContainerEventType, Action: "health_status: healthy", Scope: "local", Actor: start.Actor}
	for _, c := range []struct {
		f    controlplane.Filters
		m    events.Message
		want bool
	}{
		{nil, start, true},
		{controlplane.Filters{"type": {"service", "container"}}, start, true},
		{controlplane.Filters{"type": {"service"}}, start, false},
		{controlplane.Filters{"scope": {"swarm"}}, create, true},
		{controlplane.Filters{"scope": {"swarm"}}, start, false},
		{controlplane.Filters{"event": {"health_status"}}, health, true},
		{controlplane.Filters{"event": {"stop"}}, start, false},
		{controlplane.Filters{"container": {"web"}}, start, true},
		{controlplane.Filters{"container": {"c0ff"}}, start, true},
		{controlplane.Filters{"container": {"db"}}, start, false},
		{controlplane.Filters{"container": {"db"}, "service": {"api"}}, create, true},
		{controlplane.Filters{"image": {"nginx"}}, start, true},
		{controlplane.Filters{"label": {"tier=front"}}, start, true},
		{controlplane.Filters{"label": {"tier=front", "x"}}, start, false},
	} {
		if got := eventMatches(c.f, c.m); got != c.want {
			t.Errorf("%v on %s %s: %v", c.f, c.m.Type, c.m.Action, got)
		}
	}
}
