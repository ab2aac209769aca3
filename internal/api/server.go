package api

import (
	"context"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/controlplane"
	shoalnet "shoal/internal/network"
)

// Swarm is what the API needs of the daemon's life in a swarm.
type Swarm interface {
	// Info is the Swarm block of /info. It never fails: what is wrong is in Info.Error.
	Info(ctx context.Context) swarm.Info
	// Control is the verbs on the swarm's objects. ErrUnavailable with Docker's sentence when this node is no manager,
	// is locked or is in no swarm.
	Control() (*controlplane.Control, error)
	Init(ctx context.Context, req swarm.InitRequest) (nodeID string, err error)
	Join(ctx context.Context, req swarm.JoinRequest) error
	Leave(ctx context.Context, force bool) error
	Unlock(ctx context.Context, key string) error
	// Leader says who answers for the swarm's objects: this node (self), or the handler that forwards to the leader;
	// nil when there is none now.
	Leader() (forward http.Handler, self bool)
}

// Config is all that the API reads of the daemon. Log and Swarm must be set; a nil part answers 501.
type Config struct {
	Local               // the node's own objects
	Swarm     Swarm     // the life in a swarm
	Networks  Networks  // the node's own networks
	Connector Connector // its containers in networks
	// SwarmNetworks is the swarm's networks as a node that is no manager may know them, or only those in use on it; none
	// outside a swarm. Nil: it knows none.
	SwarmNetworks func(ctx context.Context, used bool) ([]network.Inspect, error)
	// AuditNetwork compares the kernel with what the network should be, and repairs it when asked to. Nil: it cannot.
	AuditNetwork func(ctx context.Context, repair bool) (shoalnet.Audit, error)
	Rescue       Rescue // backups and recovery of the swarm
	Logs         Logs
	Facts        Facts
	Counts       func(ctx context.Context) Counts // nil: zeros
	Log          *slog.Logger
}

// Server answers requests. It keeps no state of its own beside the route table.
type Server struct {
	cfg    Config
	routes table
	log    *slog.Logger
	nodes  encodedNodes
}

// New returns the handler of the whole API, with and without the /v1.NN prefix.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, log: cfg.Log}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.routes = newTable(s.systemRoutes(), s.swarmRoutes(), s.networkRoutes(), s.doctorRoutes(), s.rescueRoutes(), s.localRoutes())
	return s
}

// ServeHTTP answers one request. A panic in a handler is answered with 500, logged with its stack, and harms no other
// request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	rec := &recorder{ResponseWriter: w}
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler { //nolint:errorlint // the value itself is the signal (net/http)
				panic(p)
			}
			s.log.Error("request panicked", "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
			if rec.status == 0 {
				writeMessage(rec, http.StatusInternalServerError, "internal error, see the daemon's log")
			}
		}
		s.log.Debug("request", "method", r.Method, "path", r.URL.Path, "status", rec.status, "took", time.Since(began))
	}()
	s.setServerHeaders(rec.Header())
	if err := s.serve(rec, r); err != nil {
		if rec.status != 0 { // the answer has begun: all that is left is to end it
			s.log.Debug("answer cut short", "method", r.Method, "path", r.URL.Path, "error", err)
			return
		}
		s.writeError(rec, r, err)
	}
}

// serve finds the route and runs its handler. An error returned before anything was written becomes the answer.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) error {
	v, path, err := splitVersion(r.URL.Path)
	if err != nil {
		return err
	}
	rt, params, err := s.routes.find(r.Method, path, v)
	if err != nil {
		return err
	}
	for name, value := range params {
		r.SetPathValue(name, value)
	}
	r = r.WithContext(context.WithValue(r.Context(), versionKey{}, v))
	if rt.scope == swarmScope {
		if done, err := s.forward(w, r); done || err != nil {
			return err
		}
	}
	return rt.handler(w, r)
}

// forward hands a request on the swarm's objects to the leader when that is another node. It reports whether the
// request has been answered.
func (s *Server) forward(w http.ResponseWriter, r *http.Request) (bool, error) {
	if _, err := s.control(); err != nil {
		return false, err
	}
	leader, self := s.cfg.Swarm.Leader()
	if self {
		return false, nil
	}
	if leader == nil {
		return false, errNoLeader()
	}
	dropServerHeaders(w.Header())
	leader.ServeHTTP(w, r)
	return true, nil
}

// control is the verbs on the swarm's objects, or Docker's 503.
func (s *Server) control() (*controlplane.Control, error) {
	if s.cfg.Swarm == nil {
		return nil, errNoSwarm()
	}
	return s.cfg.Swarm.Control()
}

// recorder remembers the status, so that the log can tell it and an error after the first byte is not written into the
// body. It unwraps for http.ResponseController, so that flushing and hijacking reach the connection.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && status >= 200 || status == http.StatusSwitchingProtocols {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Flush lets callers that ask for http.Flusher stream, as httputil.ReverseProxy does.
func (r *recorder) Flush() {
	_ = http.NewResponseController(r.ResponseWriter).Flush() // a writer that cannot flush has nothing to lose
}

// Unwrap serves http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
