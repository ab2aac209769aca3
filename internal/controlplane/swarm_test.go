package controlplane

import (
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/store"
	"shoal/internal/store/storetest"
)

func TestBootstrap(t *testing.T) {
	c := newControl(t)
	v := c.Store.View()
	sw, err := c.Swarm()
	if err != nil {
		t.Fatal(err)
	}
	if sw.Spec.Name != "default" || *sw.Spec.Orchestration.TaskHistoryRetentionLimit != 5 || sw.Spec.CAConfig.NodeCertExpiry != DefaultCertExpiry ||
		sw.SubnetSize != 24 || sw.DataPathPort != 4789 || len(sw.DefaultAddrPool) != 1 || sw.TLSInfo.TrustRoot == "" || sw.JoinTokens.Worker == sw.JoinTokens.Manager {
		t.Errorf("swarm: %+v", sw)
	}
	if n := store.Nodes.Get(v, "node1"); n.Number != 1 {
		t.Errorf("the first node has number %d", n.Number)
	}
	if got := store.Networks.Len(v); got != 4 {
		t.Errorf("%d networks, want ingress, bridge, host and none", got)
	}
	if n := ingressNetwork(v); n == nil || n.VNI == 0 || n.IPAMOptions == nil {
		t.Errorf("ingress network: %+v", n)
	}
}

func TestSwarmUpdate(t *testing.T) {
	c := newControl(t)
	ctx := t.Context()
	get := func() swarm.Swarm {
		t.Helper()
		sw, err := c.Swarm()
		if err != nil {
			t.Fatal(err)
		}
		return sw
	}
	at := func() SwarmUpdate { return SwarmUpdate{Version: get().Version.Index} }
	for _, tt := range []struct {
		change func(*swarm.Spec)
		want   string
	}{
		{func(s *swarm.Spec) { s.Name = "mine" }, "modification of cluster name is not allowed"},
		{func(s *swarm.Spec) { s.CAConfig.NodeCertExpiry = time.Minute }, "minimum certificate expiry time is: 1h0m0s"},
		{func(s *swarm.Spec) { s.Dispatcher.HeartbeatPeriod = -1 }, "heartbeat time period cannot be a negative duration"},
		{func(s *swarm.Spec) { s.Dispatcher.HeartbeatPeriod = 1 }, "minimum heartbeat time period is: 100ms"},
		{func(s *swarm.Spec) { s.CAConfig.SigningCAKey = "k" }, "if a signing CA key is provided, the signing CA cert must also be provided"},
		{func(s *swarm.Spec) {
			s.CAConfig.ExternalCAs = []*swarm.ExternalCA{{Protocol: "acme", URL: "https://x"}}
		}, `invalid CAProtocol: "acme"`},
	} {
		spec := get().Spec
		tt.change(&spec)
		wantError(t, c.UpdateSwarm(ctx, spec, at()), errdefs.ErrInvalidArgument, tt.want)
	}
	wantError(t, c.UpdateSwarm(ctx, get().Spec, SwarmUpdate{Version: 99}), nil, "update out of sequence")

	before := get()
	spec := before.Spec
	spec.Orchestration.TaskHistoryRetentionLimit = new(int64(9))
	spec.Dispatcher.HeartbeatPeriod = 0
	if err := c.UpdateSwarm(ctx, spec, at()); err != nil {
		t.Fatal(err)
	}
	after := get()
	if *after.Spec.Orchestration.TaskHistoryRetentionLimit != 9 || after.Spec.Dispatcher.HeartbeatPeriod != DefaultHeartbeatPeriod || after.JoinTokens != before.JoinTokens {
		t.Errorf("after an update of the history limit: %+v", after.Spec)
	}

	how := at()
	how.RotateWorkerToken = true
	if err := c.UpdateSwarm(ctx, after.Spec, how); err != nil {
		t.Fatal(err)
	}
	if now := get().JoinTokens; now.Worker == before.JoinTokens.Worker || now.Manager != before.JoinTokens.Manager {
		t.Errorf("rotation of the worker token alone: %+v", now)
	}
}

func TestAutolock(t *testing.T) {
	c := newControl(t)
	set := func(on, rotate bool) string {
		t.Helper()
		sw, err := c.Swarm()
		if err != nil {
			t.Fatal(err)
		}
		sw.Spec.EncryptionConfig.AutoLockManagers = on
		if err := c.UpdateSwarm(t.Context(), sw.Spec, SwarmUpdate{Version: sw.Version.Index, RotateKey: rotate}); err != nil {
			t.Fatal(err)
		}
		key, err := c.UnlockKey()
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	first := set(true, false)
	if len(first) < 10 || first[:9] != "SWMKEY-1-" {
		t.Errorf("unlock key %q", first)
	}
	if again := set(true, false); again != first {
		t.Error("an update that rotates nothing changed the unlock key")
	}
	if second := set(true, true); second == first {
		t.Error("rotation kept the unlock key")
	}
	if off := set(false, false); off != "" {
		t.Errorf("unlock key without autolock: %q", off)
	}
}

func TestRootRotation(t *testing.T) {
	c := newControl(t)
	sw, err := c.Swarm()
	if err != nil {
		t.Fatal(err)
	}
	sw.Spec.CAConfig.ForceRotate++
	if err := c.UpdateSwarm(t.Context(), sw.Spec, SwarmUpdate{Version: sw.Version.Index}); err != nil {
		t.Fatal(err)
	}
	now, err := c.Swarm()
	if err != nil || !now.RootRotationInProgress {
		t.Fatalf("no rotation under way: %v", err)
	}
	if root := store.ClusterOf(c.Store.View()).Root; root.Next == nil || len(root.Next.Key) == 0 {
		t.Error("no next root")
	}
	if now.Spec.CAConfig.SigningCAKey != "" {
		t.Error("the API tells the root's key")
	}
	if err := c.UpdateSwarm(t.Context(), now.Spec, SwarmUpdate{Version: now.Version.Index}); err != nil {
		t.Fatal(err)
	}
	if store.ClusterOf(c.Store.View()).Root.Next == nil {
		t.Error("an update of nothing ended the rotation")
	}
}

func TestNoSwarm(t *testing.T) {
	c := &Control{Store: storetest.New(t)}
	if _, err := c.Swarm(); !errdefs.IsUnavailable(err) {
		t.Errorf("swarm before init: %v, want Unavailable", err)
	}
}
