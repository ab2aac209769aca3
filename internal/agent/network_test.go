package agent

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"shoal/internal/cluster"
)

// changing is a data plane that takes changes, and says what it was asked in order.
type changing struct {
	asked []uint64
	fail  error // of the next change
}

func (c *changing) Set(_ context.Context, s cluster.NetworkState) error {
	c.asked = append(c.asked, s.Index)
	return nil
}

func (c *changing) Change(_ context.Context, d cluster.NetworkDelta) error {
	c.asked = append(c.asked, d.Index)
	err := c.fail
	c.fail = nil
	return err
}

func TestDataPlaneTakesChangesInOrder(t *testing.T) {
	net := &changing{}
	d := newDataPlane(net, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { d.run(ctx); close(ended) }()
	defer func() { cancel(); <-ended }()
	if _, err := d.change(&cluster.NetworkDelta{Base: 4, Index: 5}); !errors.Is(err, errdefs.ErrFailedPrecondition) {
		t.Fatalf("a change of a state that was never sent: %v", err)
	}
	<-d.set(&cluster.NetworkState{Index: 7})
	for i := uint64(7); i < 10; i++ {
		settled, err := d.change(&cluster.NetworkDelta{Base: i, Index: i + 1})
		if err != nil {
			t.Fatal(err)
		}
		<-settled
		if d.index() != i+1 {
			t.Fatalf("applied %d, not %d", d.index(), i+1)
		}
	}
	if diff := cmp.Diff([]uint64{7, 8, 9, 10}, net.asked); diff != "" {
		t.Fatal(diff)
	}
	// The data plane holds something else: the session must end, and the next begins with the whole.
	net.fail = cluster.Errorf(errdefs.ErrFailedPrecondition, "elsewhere")
	settled, err := d.change(&cluster.NetworkDelta{Base: 10, Index: 11})
	if err != nil {
		t.Fatal(err)
	}
	<-settled
	<-d.lost
	if d.index() != 10 {
		t.Fatalf("applied %d", d.index())
	}
	<-d.set(&cluster.NetworkState{Index: 20})
	if d.index() != 20 {
		t.Fatalf("applied %d", d.index())
	}
}
