package agent

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/agent/agenttest"
	"shoal/internal/ca"
	"shoal/internal/cluster"
	"shoal/internal/rpc"
)

// issuer is a leader that gives certificates, and does something before the answer.
type issuer struct {
	Manager
	root   *ca.Root
	bundle []byte // the roots that come with them
	before func()
}

const leaderAddr = "10.0.0.1:2377"

func (i issuer) Leader(context.Context) (*rpc.LeaderReply, error) {
	return &rpc.LeaderReply{Addr: leaderAddr}, nil
}
func (issuer) Close() error { return nil }

func (i issuer) Issue(_ context.Context, request *rpc.IssueRequest) (*rpc.IssueReply, error) {
	i.before()
	chain, err := i.root.Sign(request.CSR, ca.Subject{NodeID: "n1", ClusterID: "c1", Role: swarm.NodeRoleWorker}, time.Hour, time.Now())
	return &rpc.IssueReply{Chain: chain, Root: i.bundle}, err
}

// TestRootsMeanwhile: roots that the session brings while a certificate is on its way are not replaced by those that come with it.
func TestRootsMeanwhile(t *testing.T) {
	first, second, third := newRoot(t), newRoot(t), newRoot(t)
	key, csr, err := ca.NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	chain, err := first.Sign(csr, ca.Subject{NodeID: "n1", ClusterID: "c1", Role: swarm.NodeRoleWorker}, time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	both := append(bytes.Clone(first.PEM), second.PEM...)
	newest := append(bytes.Clone(first.PEM), third.PEM...)
	for _, test := range []struct {
		name   string
		pushed []byte // during the call
		want   []byte
	}{
		{"none come", nil, both},
		{"newer ones come", newest, newest},
	} {
		t.Run(test.name, func(t *testing.T) {
			identity, err := ca.NewIdentity(ca.Bundle{Chain: chain, Key: key, Root: first.PEM})
			if err != nil {
				t.Fatal(err)
			}
			leader := issuer{root: second, bundle: both}
			a := New(Config{
				Identity: identity, Executor: agenttest.New("host"), Network: &agenttest.Network{}, Managers: []string{leaderAddr},
				Dial: func(context.Context, string) (Manager, error) { return leader, nil },
			})
			leader.before = func() {
				if test.pushed != nil {
					a.trust(test.pushed)
				}
			}
			if err := a.renewNow(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := identity.Bundle().Root; !bytes.Equal(got, test.want) {
				t.Errorf("other roots than wanted:\n%s", got)
			}
			if identity.Leaf().CheckSignatureFrom(second.Cert) != nil {
				t.Error("the new certificate is not in use")
			}
		})
	}
}

func newRoot(t *testing.T) *ca.Root {
	t.Helper()
	c := &cluster.Cluster{}
	c.ID = "c1"
	if err := ca.NewCluster(c, nil, nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	root, err := ca.ParseRoot(c.Root.Cert, c.Root.Key)
	if err != nil {
		t.Fatal(err)
	}
	return root
}
