package daemon

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"shoal/internal/cluster"
	"shoal/internal/store"
	"shoal/internal/store/storetest"
)

// gathered is every series with its value, as "name label".
func gathered(t *testing.T, c prometheus.Collector) map[string]float64 {
	t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(c)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			out[f.GetName()+labels(m)] = m.GetGauge().GetValue()
		}
	}
	return out
}

func labels(m *dto.Metric) string {
	s := ""
	for _, l := range m.Label {
		s += " " + l.GetValue()
	}
	return s
}

func TestSwarmMetricsCountTheStore(t *testing.T) {
	s := storetest.New(t)
	storetest.Update(t, s, func(tx *store.Tx) {
		for i, state := range []string{"running", "running", "failed"} {
			task := &cluster.Task{ID: string(rune('a' + i))}
			task.Status.State = cluster.States()[cluster.Rank("running")]
			if state == "failed" {
				task.Status.State = "failed"
			}
			store.Tasks.Put(tx, task)
		}
	})
	m := &managing{store: s}
	m.leading.Store(true)
	got := gathered(t, swarmMetrics{m})
	for series, want := range map[string]float64{
		"swarm_manager_leader": 1, "swarm_manager_tasks_total running": 2, "swarm_manager_tasks_total failed": 1,
		"swarm_manager_tasks_total pending": 0, "swarm_manager_services_total": 0, "shoal_store_index": 1,
	} {
		if v, ok := got[series]; !ok || v != want {
			t.Errorf("%s is %v (there: %v), want %v", series, v, ok, want)
		}
	}
}
