package daemon

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/swarm"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"shoal/internal/cluster"
	"shoal/internal/store"
)

// Metrics have dockerd's names, so that dashboards carry over.
var (
	descContainers = prometheus.NewDesc("engine_daemon_container_states_containers", "Containers of this node by state", []string{"state"}, nil)
	descManager    = prometheus.NewDesc("swarm_node_manager", "Whether this node is a manager", nil, nil)
	descLeader     = prometheus.NewDesc("swarm_manager_leader", "Whether this node leads the swarm", nil, nil)
	descNodes      = prometheus.NewDesc("swarm_manager_nodes", "Nodes of the swarm by state", []string{"state"}, nil)
	descTasks      = prometheus.NewDesc("swarm_manager_tasks_total", "Tasks in the store by state", []string{"state"}, nil)
	descServices   = prometheus.NewDesc("swarm_manager_services_total", "Services in the store", nil, nil)
	descNetworks   = prometheus.NewDesc("swarm_manager_networks_total", "Networks in the store", nil, nil)
	descSecrets    = prometheus.NewDesc("swarm_manager_secrets_total", "Secrets in the store", nil, nil)
	descConfigs    = prometheus.NewDesc("swarm_manager_configs_total", "Configs in the store", nil, nil)
	descIndex      = prometheus.NewDesc("shoal_store_index", "Index of the newest transaction applied on this manager", nil, nil)
)

// collector counts at every scrape: the store's view is immutable and the walk blocks nobody.
type collector struct{ d *daemon }

// Describe names nothing ahead, since a worker has other metrics than a manager.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect counts the node's containers and, on a manager, the swarm's objects.
func (c collector) Collect(out chan<- prometheus.Metric) {
	gauge := gauges(out)
	counts := c.d.counts(context.Background())
	gauge(descContainers, counts.Running, string(container.StateRunning))
	gauge(descContainers, counts.Paused, string(container.StatePaused))
	gauge(descContainers, counts.Stopped, "stopped")
	if m := c.d.node.manager(); m == nil {
		gauge(descManager, 0)
	} else {
		gauge(descManager, 1)
		swarmMetrics{m}.Collect(out)
	}
}

func gauges(out chan<- prometheus.Metric) func(d *prometheus.Desc, v int, labels ...string) {
	return func(d *prometheus.Desc, v int, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
}

// swarmMetrics counts the swarm's objects on a manager.
type swarmMetrics struct{ m *managing }

// Describe names nothing ahead.
func (swarmMetrics) Describe(chan<- *prometheus.Desc) {}

// Collect walks one immutable view of the store.
func (s swarmMetrics) Collect(out chan<- prometheus.Metric) {
	m, gauge := s.m, gauges(out)
	leads := 0
	if m.leading.Load() {
		leads = 1
	}
	gauge(descLeader, leads)
	v := m.store.View()
	nodes := map[swarm.NodeState]int{swarm.NodeStateReady: 0, swarm.NodeStateDown: 0, swarm.NodeStateUnknown: 0, swarm.NodeStateDisconnected: 0}
	for n := range store.Nodes.All(v) {
		nodes[n.Status.State]++
	}
	for state, n := range nodes {
		gauge(descNodes, n, string(state))
	}
	tasks := map[swarm.TaskState]int{}
	for _, state := range cluster.States() {
		tasks[state] = 0 // a series that comes and goes breaks rate() and alerts
	}
	for t := range store.Tasks.All(v) {
		tasks[t.Status.State]++
	}
	for state, n := range tasks {
		gauge(descTasks, n, string(state))
	}
	gauge(descServices, store.Services.Len(v))
	gauge(descNetworks, store.Networks.Len(v))
	gauge(descSecrets, store.Secrets.Len(v))
	gauge(descConfigs, store.Configs.Len(v))
	gauge(descIndex, int(v.Index()))
}

// openMetrics serves /metrics where --metrics-addr says, if it says anything.
func (d *daemon) openMetrics(context.Context) error {
	if d.cfg.MetricsAddr == "" {
		return nil
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{d}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	l, err := net.Listen("tcp", d.cfg.MetricsAddr)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			d.log.Error("metrics are served no more", "error", err)
		}
	}()
	d.onClose("metrics", server.Close)
	return nil
}
