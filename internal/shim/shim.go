package shim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/manager"
	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/task"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/containerd/v2/pkg/shutdown"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
	"github.com/containerd/ttrpc"

	"shoal/internal/shim/wire"
)

// drainTime is how long the end of a container waits for the rest of its output.
const drainTime = 2 * time.Second

// Run is the shim as containerd calls it. It returns when the shim has ended, or exits the process.
func Run() {
	e := new(ender)
	if serves(os.Args[1:]) {
		go endUnasked(".", e.busy, nil, e.end) // before all else: opening the log waits for containerd, which may be dead
	}
	// A shim waits nearly all the time. More than one thread of Go code is woken only to find nothing to do: one less is 0.7 MB
	// less, and less work at a container's start (docs/performance.md).
	runtime.GOMAXPROCS(1)
	registry.Register(&plugin.Registration{
		Type:     plugins.TTRPCPlugin,
		ID:       "task",
		Requires: []plugin.Type{plugins.EventPlugin, plugins.InternalPlugin},
		InitFn: func(ic *plugin.InitContext) (any, error) {
			pub, err := ic.GetByID(plugins.EventPlugin, "publisher")
			if err != nil {
				return nil, err
			}
			down, err := ic.GetByID(plugins.InternalPlugin, "shutdown")
			if err != nil {
				return nil, err
			}
			if err := hurryChildren(); err != nil { // here, since this process serves: the one that starts it would pass it on
				return nil, err
			}
			s := &service{keepers: map[string]*keeper{}}
			s.TTRPCTaskService, err = task.NewTaskService(ic.Context, &recorder{pub.(shim.Publisher), s}, down.(shutdown.Service))
			if sd, ok := down.(shutdown.Service); ok {
				e.down.Store(&sd)
			}
			e.service.Store(s)
			return s, err
		},
	})
	shim.RunShim(context.Background(), manager.NewShimManager("io.containerd.runc.v2"))
}

// hurryChildren prepares the environment of runc, which lives for milliseconds: it neither collects garbage nor starts
// threads to do so. The container's own environment is another one.
func hurryChildren() error {
	return errors.Join(os.Setenv("GOGC", "off"), os.Setenv("GOMAXPROCS", "1"))
}

// service is containerd's task service with our files around it. What it does not name passes through.
type service struct {
	taskapi.TTRPCTaskService

	mu      sync.Mutex
	keepers map[string]*keeper // by container ID
}

// RegisterTTRPC puts the wrapped service on the shim's server.
func (s *service) RegisterTTRPC(srv *ttrpc.Server) error {
	taskapi.RegisterTTRPCTaskService(srv, s)
	return nil
}

func (s *service) keeper(id string) *keeper {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keepers[id]
}

// Create makes the container with its output led through the shim.
func (s *service) Create(ctx context.Context, r *taskapi.CreateTaskRequest) (*taskapi.CreateTaskResponse, error) {
	order, ok, err := readOrder(r.Bundle)
	if err != nil {
		return nil, err
	}
	if !ok {
		return s.TTRPCTaskService.Create(ctx, r)
	}
	k, err := open(order, r)
	if err != nil {
		return nil, err
	}
	k.hub.closeIn = func() { // our end and the one that containerd holds open
		k.closeInput()
		_, _ = s.TTRPCTaskService.CloseIO(context.Background(), &taskapi.CloseIORequest{ID: r.ID, Stdin: true})
	}
	if order.Attach != "" {
		if err := k.hub.listen(order.Attach); err != nil {
			k.close()
			return nil, fmt.Errorf("attach socket: %w", err)
		}
	}
	s.mu.Lock()
	s.keepers[r.ID] = k // before Create: its process may end before it returns
	s.mu.Unlock()
	res, err := s.TTRPCTaskService.Create(ctx, r)
	if err != nil {
		s.forget(r.ID)
		k.close()
		return nil, err
	}
	k.begin()
	return res, nil
}

// Start starts the container's process, or one beside it.
func (s *service) Start(ctx context.Context, r *taskapi.StartRequest) (*taskapi.StartResponse, error) {
	k := s.keeper(r.ID)
	if r.ExecID != "" || k == nil {
		return s.TTRPCTaskService.Start(ctx, r)
	}
	k.started.Store(true) // before it: the process may end before it returns
	res, err := s.TTRPCTaskService.Start(ctx, r)
	if err != nil {
		k.started.Store(false)
	}
	return res, err
}

// busy says whether a container was started that has not ended.
func (s *service) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.keepers {
		if k.started.Load() && !k.ended.Load() {
			return true
		}
	}
	return false
}

// release gives up what the containers have outside of the bundle.
func (s *service) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.keepers {
		k.hub.end()
	}
}

// Wait answers when the process has ended; for the container itself, when its record and its log are complete too.
func (s *service) Wait(ctx context.Context, r *taskapi.WaitRequest) (*taskapi.WaitResponse, error) {
	res, err := s.TTRPCTaskService.Wait(ctx, r)
	if k := s.keeper(r.ID); err == nil && r.ExecID == "" && k != nil {
		k.drained(drainTime)
		k.recordExit(res.ExitStatus, res.ExitedAt.AsTime())
	}
	return res, err
}

// Delete removes what is left of the process. The shim may end right after it, with events still unsent, so the record
// is written here at the latest.
func (s *service) Delete(ctx context.Context, r *taskapi.DeleteRequest) (*taskapi.DeleteResponse, error) {
	k := s.keeper(r.ID)
	if r.ExecID == "" && k != nil {
		k.closeInput()
	}
	res, err := s.TTRPCTaskService.Delete(ctx, r)
	if err == nil && r.ExecID == "" && k != nil {
		k.drained(drainTime)
		k.recordExit(res.ExitStatus, res.ExitedAt.AsTime())
		s.forget(r.ID)
	}
	return res, err
}

func (s *service) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.keepers, id)
}

// readOrder reads the order from a bundle's spec. Only the annotations are decoded.
func readOrder(bundle string) (o wire.Order, ok bool, err error) {
	b, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if err != nil {
		return o, false, fmt.Errorf("read the container's spec: %w", err)
	}
	var spec struct {
		Annotations map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(b, &spec); err != nil {
		return o, false, fmt.Errorf("decode the container's spec: %w", err)
	}
	text, ok := spec.Annotations[wire.Annotation]
	if !ok {
		return o, false, nil
	}
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return o, false, fmt.Errorf("decode annotation %s: %w", wire.Annotation, err)
	}
	return o, true, nil
}

// recorder sees the shim's events on their way to containerd, which may not be there.
type recorder struct {
	shim.Publisher
	service *service
}

// Publish writes the exit record before it passes the event on.
func (p *recorder) Publish(ctx context.Context, topic string, e events.Event) error {
	switch e := e.(type) {
	case *eventsapi.TaskExit:
		if k := p.service.keeper(e.ContainerID); k != nil && e.ID == e.ContainerID {
			k.recordExit(e.ExitStatus, e.ExitedAt.AsTime())
		}
	case *eventsapi.TaskOOM:
		if k := p.service.keeper(e.ContainerID); k != nil {
			k.noteOOM()
		}
	}
	return p.Publisher.Publish(ctx, topic, e)
}
