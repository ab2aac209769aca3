package api

import (
	"context"
	"encoding/binary"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// logTime is the form of timestamps in log streams: RFC 3339 with all nine digits, so that lines align.
const logTime = "2006-01-02T15:04:05.000000000Z07:00"

// logQuery is a log request's parameters.
type logQuery struct {
	LogOptions
	timestamps, details bool
}

// parseLogQuery reads the parameters before the stream begins, since no status can tell of a mistake after that.
func parseLogQuery(r *http.Request) (logQuery, error) {
	q := logQuery{timestamps: boolParam(r, "timestamps"), details: boolParam(r, "details")}
	q.Stdout, q.Stderr, q.Follow = boolParam(r, "stdout"), boolParam(r, "stderr"), boolParam(r, "follow")
	if !q.Stdout && !q.Stderr {
		return q, cluster.Errorf(errdefs.ErrInvalidArgument, "Bad parameters: you must choose at least one stream")
	}
	var err error
	if q.Since, err = timeParam(r, "since"); err != nil {
		return q, err
	}
	if q.Until, err = timeParam(r, "until"); err != nil {
		return q, err
	}
	q.Tail = -1
	if tail := r.URL.Query().Get("tail"); tail != "" && tail != "all" {
		if q.Tail, err = strconv.Atoi(tail); err != nil || q.Tail < 0 {
			return q, badParam("tail", tail)
		}
	}
	return q, nil
}

func (s *Server) serviceLogs(w http.ResponseWriter, r *http.Request) error {
	c, err := s.control()
	if err != nil {
		return err
	}
	svc, err := c.Service(r.PathValue("id"), false)
	if err != nil {
		return err
	}
	return s.logs(w, r, &svc.Spec.TaskTemplate, logSource{store: c.Store, serviceID: svc.ID})
}

func (s *Server) taskLogs(w http.ResponseWriter, r *http.Request) error {
	c, err := s.control()
	if err != nil {
		return err
	}
	t, err := c.Task(r.PathValue("id"))
	if err != nil {
		return err
	}
	return s.logs(w, r, &t.Spec, logSource{store: c.Store, taskID: t.ID})
}

// logs answers with the log lines of a service or a task.
func (s *Server) logs(w http.ResponseWriter, r *http.Request, spec *swarm.TaskSpec, from logSource) error {
	q, err := parseLogQuery(r)
	if err != nil {
		return err
	}
	if s.cfg.Logs == nil {
		return errNoPart("logs of tasks")
	}
	tty := spec.ContainerSpec != nil && spec.ContainerSpec.TTY
	media := types.MediaTypeRawStream
	if !tty && versionOf(r) >= 42 {
		media = types.MediaTypeMultiplexedStream
	}
	w.Header().Set("Content-Type", media)
	w.WriteHeader(http.StatusOK)
	out := &logWriter{w: w, flush: http.NewResponseController(w).Flush, query: q, framed: !tty}
	if err := out.flush(); err != nil {
		return err
	}
	from.logs, from.opts = s.cfg.Logs, q.LogOptions
	return from.stream(r.Context(), out)
}

// logWriter writes lines in Docker's stream format.
type logWriter struct {
	w      http.ResponseWriter
	flush  func() error
	query  logQuery
	framed bool // each write in a frame of its own, which names its stream
}

// Streams of a frame.
const (
	frameStdout = 1
	frameStderr = 2
	frameError  = 3 // the daemon's own; clients end with it
)

// line writes one line with what the client asked to be put before it.
func (l *logWriter) line(task *cluster.Task, line LogLine) error {
	if line.Stderr && !l.query.Stderr || !line.Stderr && !l.query.Stdout {
		return nil
	}
	var text []byte
	if l.query.timestamps {
		text = append(line.Time.UTC().AppendFormat(text, logTime), ' ')
	}
	if l.query.details {
		text = append(append(text, details(task, line.Attrs)...), ' ')
	}
	stream := byte(frameStdout)
	if line.Stderr {
		stream = frameStderr
	}
	return l.write(stream, append(text, line.Text...))
}

// failed tells the client what could not be read. An unframed stream has no place for that.
func (l *logWriter) failed(reasons []string) error {
	if len(reasons) == 0 || !l.framed {
		return nil
	}
	text := "Error grabbing logs: warning: incomplete log stream. some logs could not be retrieved for the following reasons: " +
		strings.Join(reasons, ", ") + "\n"
	if err := l.write(frameError, []byte(text)); err != nil {
		return err
	}
	return l.flush()
}

func (l *logWriter) write(stream byte, text []byte) error {
	if l.framed {
		frame := [8]byte{stream}
		binary.BigEndian.PutUint32(frame[4:], uint32(len(text))) //nolint:gosec // a line is far below 4 GiB
		text = append(frame[:], text...)
	}
	_, err := l.w.Write(text)
	return err
}

// details is a line's attributes and whose it is, as "key=value,key=value" in the order of keys.
func details(task *cluster.Task, attrs map[string]string) string {
	all := maps.Clone(attrs)
	if all == nil {
		all = make(map[string]string, 3)
	}
	all["com.docker.swarm.node.id"] = task.NodeID
	all["com.docker.swarm.service.id"] = task.ServiceID
	all["com.docker.swarm.task.id"] = task.ID
	parts := make([]string, 0, len(all))
	for _, key := range slices.Sorted(maps.Keys(all)) {
		parts = append(parts, url.QueryEscape(key)+"="+url.QueryEscape(all[key]))
	}
	return strings.Join(parts, ",")
}

// hasLog says whether a task has come so far that it may have written something.
func hasLog(t *cluster.Task) bool {
	return t.NodeID != "" && cluster.Rank(t.Status.State) >= cluster.Rank(swarm.TaskStateRunning)
}

// logSource is the tasks whose logs are wanted: one, or all of a service.
type logSource struct {
	store             *store.Store
	serviceID, taskID string
	logs              Logs
	opts              LogOptions
}

// tasks are those that may have written something by now.
func (f *logSource) tasks(v store.View) []*cluster.Task {
	var list []*cluster.Task
	if f.taskID != "" {
		if t := store.Tasks.Get(v, f.taskID); t != nil && hasLog(t) {
			list = append(list, t)
		}
		return list
	}
	for t := range store.Tasks.By(v, store.TaskService, f.serviceID) {
		if hasLog(t) {
			list = append(list, t)
		}
	}
	return list
}

// wants says whether a change brings a task whose log is wanted.
func (f *logSource) wants(change store.Change) *cluster.Task {
	t, ok := change.New.(*cluster.Task)
	if !ok || !hasLog(t) || t.ID != f.taskID && (f.taskID != "" || t.ServiceID != f.serviceID) {
		return nil
	}
	return t
}

// gone says whether nothing more can come: the service, or the task, is no longer there.
func (f *logSource) gone() bool {
	v := f.store.View()
	if f.taskID != "" {
		t := store.Tasks.Get(v, f.taskID)
		return t == nil || cluster.Terminal(t.Status.State)
	}
	return store.Services.Get(v, f.serviceID) == nil
}

// flushEvery bounds how long a line may wait for the lines after it while they come fast.
const flushEvery = 50 * time.Millisecond

// stream writes all lines to out until the logs end, or with Follow until ctx does.
func (f *logSource) stream(ctx context.Context, out *logWriter) error {
	if !f.opts.Follow {
		return f.merged(ctx, out)
	}
	return f.followed(ctx, out)
}
