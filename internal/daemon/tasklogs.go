package daemon

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/containerd/errdefs"

	"shoal/internal/api"
	"shoal/internal/cluster"
)

// maxFrame bounds one piece of a log stream; the shim cuts lines at 16 KiB.
const maxFrame = 1 << 20

// TaskLog reads a task's log from the node that has it, over the node's own session.
func (n *node) TaskLog(ctx context.Context, task *cluster.Task, o api.LogOptions) iter.Seq2[api.LogLine, error] {
	return func(yield func(api.LogLine, error) bool) {
		body, framed, err := n.openTaskLog(ctx, task, o)
		if err != nil {
			yield(api.LogLine{}, err)
			return
		}
		defer body.Close()
		next := frames(body)
		if !framed {
			next = lines(body)
		}
		for {
			line, err := next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil && ctx.Err() != nil {
				return
			}
			if !yield(line, err) || err != nil {
				return
			}
		}
	}
}

// openTaskLog asks the node's own API for the container's log. It reports whether the stream is in Docker's frames,
// which it is unless the container has a terminal.
func (n *node) openTaskLog(ctx context.Context, task *cluster.Task, o api.LogOptions) (io.ReadCloser, bool, error) {
	n.mu.RLock()
	m := n.managing
	n.mu.RUnlock()
	if m == nil {
		return nil, false, errWorker
	}
	if task.Status.ContainerStatus == nil || task.Status.ContainerStatus.ContainerID == "" {
		return io.NopCloser(bytes.NewReader(nil)), false, nil // it has no container yet, or never had one
	}
	q := url.Values{"timestamps": {"1"}, "tail": {"all"}}
	set := func(key string, on bool) {
		if on {
			q.Set(key, "1")
		}
	}
	set("stdout", o.Stdout)
	set("stderr", o.Stderr)
	set("follow", o.Follow)
	if o.Tail >= 0 {
		q.Set("tail", strconv.Itoa(o.Tail))
	}
	for key, at := range map[string]time.Time{"since": o.Since, "until": o.Until} {
		if !at.IsZero() {
			q.Set(key, fmt.Sprintf("%d.%09d", at.Unix(), at.Nanosecond()))
		}
	}
	target := "http://node/containers/" + task.Status.ContainerStatus.ContainerID + "/logs?" + q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, false, err
	}
	resp, err := m.relay.Transport(task.NodeID).RoundTrip(req)
	if err != nil {
		return nil, false, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		text, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		return nil, false, errors.Join(err, cluster.Errorf(errdefs.ErrUnavailable, "node %s: %s", task.NodeID, bytes.TrimSpace(text)))
	}
	return resp.Body, resp.Header.Get("Content-Type") != "application/vnd.docker.raw-stream", nil
}

// frames reads Docker's multiplexed stream: one byte for the stream, three of zeros, four for the length, the text.
func frames(r io.Reader) func() (api.LogLine, error) {
	br := bufio.NewReader(r)
	return func() (api.LogLine, error) {
		var head [8]byte
		if _, err := io.ReadFull(br, head[:]); err != nil {
			return api.LogLine{}, err
		}
		size := binary.BigEndian.Uint32(head[4:])
		if size > maxFrame {
			return api.LogLine{}, cluster.Errorf(errdefs.ErrDataLoss, "a log frame of %d bytes cannot be", size)
		}
		text := make([]byte, size)
		if _, err := io.ReadFull(br, text); err != nil {
			return api.LogLine{}, err
		}
		return stamped(text, head[0] == 2)
	}
}

// lines reads the log of a container with a terminal: no frames, one stream.
func lines(r io.Reader) func() (api.LogLine, error) {
	br := bufio.NewReader(r)
	return func() (api.LogLine, error) {
		text, err := br.ReadBytes('\n')
		if len(text) == 0 {
			return api.LogLine{}, err
		}
		return stamped(text, false)
	}
}

// stamped takes the time stamp off a line.
func stamped(text []byte, stderr bool) (api.LogLine, error) {
	stamp, rest, ok := bytes.Cut(text, []byte{' '})
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	if !ok || err != nil {
		return api.LogLine{Stderr: stderr, Text: text}, nil // the rest of a line that was cut
	}
	return api.LogLine{Stderr: stderr, Time: at, Text: rest}, nil
}
