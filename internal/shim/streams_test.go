package shim

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"

	"shoal/internal/shim/wire"
)

// A client that is there before the first byte gets all of it, the log gets lines, and its input reaches the
// container until the client ends it.
func TestStreams(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "shs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	order := wire.Order{Log: filepath.Join(dir, "log"), Attach: filepath.Join(dir, "a"), Stdin: true, StdinOnce: true}
	r := &taskapi.CreateTaskRequest{Bundle: dir}
	k, err := open(order, r)
	if err != nil {
		t.Fatal(err)
	}
	k.hub.closeIn = k.closeInput
	if err := k.hub.listen(order.Attach); err != nil {
		t.Fatal(err)
	}
	// What the inner Create does: it opens the other ends.
	stdin, err := os.OpenFile(r.Stdin, os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := os.OpenFile(r.Stdout, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := os.OpenFile(r.Stderr, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	k.begin()
	conn, err := net.Dial("unix", order.Attach)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if stream, _, err := wire.ReadFrame(conn, nil); err != nil || stream != wire.Ready {
		t.Fatalf("first frame: %d, %v", stream, err)
	}
	if err := wire.WriteFrame(conn, wire.Stdin, []byte("typed")); err != nil {
		t.Fatal(err)
	}
	if err := wire.WriteFrame(conn, wire.Stdin, nil); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(stdin); err != nil || string(b) != "typed" {
		t.Fatalf("input %q, %v", b, err)
	}
	long := strings.Repeat("x", 3*wire.MaxLine)
	stdout.WriteString("one\ntwo " + long + "\nthree")
	stderr.WriteString("wrong\n")
	stdout.Close()
	stderr.Close()
	var out, errs strings.Builder
	for {
		stream, data, err := wire.ReadFrame(conn, nil)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if stream == wire.Stderr {
			errs.Write(data)
		} else {
			out.Write(data)
		}
	}
	if out.String() != "one\ntwo "+long+"\nthree" || errs.String() != "wrong\n" {
		t.Fatalf("%d bytes of output, %q", out.Len(), errs.String())
	}
	<-k.done
	b, err := os.ReadFile(order.Log)
	if err != nil {
		t.Fatal(err)
	}
	var logged strings.Builder
	for _, l := range strings.SplitAfter(string(b), "\n") {
		if d, err := wire.DecodeLine([]byte(l)); err == nil && d.Stream == "stdout" {
			logged.WriteString(d.Log)
		}
	}
	if logged.String() != out.String() {
		t.Fatalf("the log has %d bytes of %d", logged.Len(), out.Len())
	}
	if _, err := os.Stat(order.Attach); !os.IsNotExist(err) {
		t.Fatalf("the socket is still there: %v", err)
	}
}
