package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/miekg/dns"
	"github.com/moby/moby/api/types/swarm"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	grown    = 50                    // tasks that are added to the service, growth at a time
	growth   = 5                     // one a node
	askEvery = 25 * time.Millisecond // how exactly the moment is known at which a node knows a task
)

// answerSize is how large an answer over UDP may be, in bytes.
const answerSize = 4096

// BenchmarkKnown takes the time from the moment that a task runs, by its status, until each of five nodes leads to it: by the
// name tasks.web, asked by a container of the network on that node, and by the table behind the service's address there.
// A round is 45 tasks, five at a time, beside five that are there before. written is the part of it until the transaction that
// writes the status begins.
func BenchmarkKnown(b *testing.B) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	nodes, images := formServing(b, ctx, shoal, 3, 2, toolboxImages(b), "v1")
	defer nodes[0].end()
	favourSelf(b, nodes[0])
	api := nodes[0].api
	network, err := api.overlay(ctx, "net")
	must(b, err)
	// The network's tables are there while it has a service.
	_, err = api.make(ctx, knownSpec("first", images[0], network, 0))
	must(b, err)
	var watchers []*watcher
	for _, n := range nodes {
		space, err := n.guest(ctx, images[0], "net")
		must(b, err)
		w := &watcher{node: n, guest: space}
		must(b, w.open())
		watchers = append(watchers, w)
	}
	var names, tables, written []time.Duration
	for b.Loop() {
		service, err := api.make(ctx, knownSpec("web", images[0], network, growth))
		must(b, err)
		// A name that nobody has yet is asked for upstream, which takes its time: the first tasks are not counted.
		early, err := api.awaitTasks(ctx, service, growth)
		must(b, err)
		watch, stop := context.WithCancel(ctx)
		all, watch := errgroup.WithContext(watch)
		for _, w := range watchers {
			w.seen = map[netip.Addr]*sight{}
			all.Go(func() error { return w.watch(watch) })
		}
		for count := uint64(2 * growth); count <= grown; count += growth {
			must(b, api.change(ctx, service, func(s *swarm.ServiceSpec) { s.Mode.Replicated.Replicas = &count }))
			_, err := api.awaitTasks(ctx, service, int(count))
			must(b, err)
			for _, w := range watchers {
				must(b, await(watch, "a node knows no more tasks", func() bool { return w.knows(int(count)) }))
			}
		}
		stop()
		must(b, all.Wait())
		tasks, err := api.tasks(ctx, service)
		must(b, err)
		for _, t := range tasks {
			if slices.ContainsFunc(early, func(e swarm.Task) bool { return e.ID == t.ID }) {
				continue
			}
			written = append(written, t.UpdatedAt.Sub(t.Status.Timestamp))
			for _, w := range watchers {
				s := w.seen[t.NetworksAttachments[0].Addresses[0].Addr()]
				names = append(names, s.name.Sub(t.Status.Timestamp))
				tables = append(tables, s.table.Sub(t.Status.Timestamp))
			}
		}
		must(b, api.call(ctx, http.MethodDelete, "/services/"+service, nil, nil))
		must(b, await(ctx, "tasks stay", func() bool {
			var tasks []swarm.Task
			err := api.call(ctx, http.MethodGet, "/tasks", nil, &tasks) // a filter would miss the service
			return err == nil && !slices.ContainsFunc(tasks, func(t swarm.Task) bool { return t.ServiceID == service })
		}))
	}
	for name, list := range map[string][]time.Duration{"names": names, "tables": tables, "written": written} {
		slices.Sort(list)
		b.ReportMetric(milliseconds(list[len(list)/2]), name+"-p50-ms")
		b.ReportMetric(milliseconds(list[len(list)*99/100]), name+"-p99-ms")
		b.ReportMetric(milliseconds(list[len(list)-1]), name+"-worst-ms")
		b.Logf("%s: %d samples, least %v, p90 %v", name, len(list), list[0], list[len(list)*9/10])
	}
	b.ReportMetric(0, "ns/op")
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func knownSpec(name, image, network string, replicas uint64) swarm.ServiceSpec {
	return swarm.ServiceSpec{
		Annotations: swarm.Annotations{Name: name},
		Mode:        swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &replicas}},
		TaskTemplate: swarm.TaskSpec{
			ContainerSpec: &swarm.ContainerSpec{Image: image},
			Networks:      []swarm.NetworkAttachmentConfig{{Target: network}},
		},
	}
}

// watcher asks one node again and again where a service's tasks are.
type watcher struct {
	node  *node
	guest string // network namespace of a container in the network

	names *dns.Conn
	space string // the network's own namespace

	mu   sync.Mutex
	seen map[netip.Addr]*sight
}

// sight is when a task was first seen.
type sight struct{ name, table time.Time }

func (w *watcher) open() error {
	err := within(w.guest, func() error {
		c, err := net.Dial("udp", "127.0.0.11:53")
		w.names = &dns.Conn{Conn: c, UDPSize: answerSize}
		return err
	})
	if err != nil {
		return err
	}
	// Networks' namespaces lie beside those of containers; the right one has a table of services.
	files, err := filepath.Glob(filepath.Join(filepath.Dir(w.guest), "n-*"))
	if err != nil {
		return err
	}
	for _, f := range files {
		err := within(f, func() error { _, err := w.backends(); return err })
		if err == nil {
			w.space = f
			return nil
		}
	}
	return fmt.Errorf("%s: none of %s has the network's tables", w.node.Name, strings.Join(files, " "))
}

// backends reads the table in the namespace of the calling thread.
func (w *watcher) backends() ([]netip.Addr, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, err
	}
	return backends(c)
}

func backends(c *nftables.Conn) ([]netip.Addr, error) {
	set, err := c.GetSetByName(&nftables.Table{Name: "shoal", Family: nftables.TableFamilyIPv4}, "tasks")
	if err != nil {
		return nil, err
	}
	elements, err := c.GetSetElements(set)
	if err != nil {
		return nil, err
	}
	var list []netip.Addr
	for _, e := range elements {
		if a, ok := netip.AddrFromSlice(e.Val); ok {
			list = append(list, a)
		}
	}
	return list, nil
}

// watch notes what the node knows until ctx ends.
func (w *watcher) watch(ctx context.Context) error {
	var c *nftables.Conn
	err := within(w.space, func() (err error) { c, err = nftables.New(nftables.AsLasting()); return err })
	if err != nil {
		return err
	}
	defer func() { _ = c.CloseLasting() }()
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		named, err := w.resolve()
		w.note(named, func(s *sight) *time.Time { return &s.name })
		if err != nil {
			return err
		}
		led, err := backends(c)
		if errors.Is(err, unix.EINTR) { // it changed meanwhile
			continue
		}
		if err != nil {
			return err
		}
		w.note(led, func(s *sight) *time.Time { return &s.table })
	}
}

func (w *watcher) note(list []netip.Addr, which func(*sight) *time.Time) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range list {
		if w.seen[a] == nil {
			w.seen[a] = &sight{}
		}
		if at := which(w.seen[a]); at.IsZero() {
			*at = now
		}
	}
}

// knows says whether the node leads to so many tasks, both ways.
func (w *watcher) knows(count int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.seen {
		if !s.name.IsZero() && !s.table.IsZero() {
			count--
		}
	}
	return count <= 0
}

// resolve asks for the tasks' addresses.
func (w *watcher) resolve() ([]netip.Addr, error) {
	q := new(dns.Msg).SetQuestion("tasks.web.", dns.TypeA)
	q.SetEdns0(answerSize, false)
	if err := w.names.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return nil, err
	}
	if err := w.names.WriteMsg(q); err != nil {
		return nil, err
	}
	reply, err := w.names.ReadMsg()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", w.node.Name, err)
	}
	var list []netip.Addr
	for _, rr := range reply.Answer {
		if a, ok := rr.(*dns.A); ok {
			if ip, ok := netip.AddrFromSlice(a.A.To4()); ok {
				list = append(list, ip)
			}
		}
	}
	return list, nil
}
