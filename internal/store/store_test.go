package store_test

import (
	"github.com/moby/moby/api/types/swarm"
	"testing"

	"shoal/internal/cluster"
	"shoal/internal/store"
	"shoal/internal/store/storetest"
)

func task(id, service string) *cluster.Task {
	return &cluster.Task{ID: id, ServiceID: service, DesiredState: swarm.TaskStateRunning}
}

func TestSmoke(t *testing.T) {
	s := storetest.New(t)
	i := storetest.Update(t, s, func(tx *store.Tx) { store.Tasks.Put(tx, task("a", "web")) })
	v := s.View()
	if i != 1 || v.Index() != 1 || store.Tasks.Get(v, "a").Version.Index != 1 {
		t.Fatal(i, v.Index(), store.Tasks.Get(v, "a"))
	}
}
