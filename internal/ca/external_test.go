package ca

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"
)

// externalCA speaks CFSSL's protocol as its server does with -mutual-tls-ca. answer makes its reply from a signed chain.
func externalCA(t *testing.T, signer, trusted *Root, answer func(cfsslRequest) any) *swarm.ExternalCA {
	t.Helper()
	clients, err := pool(trusted.PEM)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var asked cfsslRequest
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			t.Error(err)
		}
		reply := answer(asked)
		if text, ok := reply.(string); ok {
			http.Error(w, text, http.StatusBadGateway)
			return
		}
		if err := json.NewEncoder(w).Encode(reply); err != nil {
			t.Error(err)
		}
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	own := encodeCert(server.Certificate().Raw)
	return &swarm.ExternalCA{Protocol: swarm.ExternalCAProtocolCFSSL, URL: server.URL + "/api/v1/cfssl/sign", CACert: string(own)}
}

// signing answers as CFSSL does, with a certificate for who.
func signing(t *testing.T, root *Root, who func(asked Subject) Subject) func(cfsslRequest) any {
	return func(asked cfsslRequest) any {
		s := Subject{NodeID: asked.Subject.CN, ClusterID: asked.Subject.Names[0].O, Role: swarm.NodeRoleWorker}
		if asked.Subject.Names[0].OU == "swarm-manager" {
			s.Role = swarm.NodeRoleManager
		}
		chain, err := root.Sign([]byte(asked.Request), who(s), 0, time.Now())
		if err != nil {
			t.Error(err)
		}
		var reply cfsslReply
		reply.Success, reply.Result.Certificate = true, string(chain)
		return reply
	}
}

func TestExternalCA(t *testing.T) {
	root, _ := newRoot(t)
	other, _ := newRoot(t)
	self := identityOf(t, bundleOf(t, root, alice, 0, time.Now()))
	bob := Subject{NodeID: "bob", ClusterID: "c1", Role: swarm.NodeRoleWorker}
	_, csr, err := NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	asAsked := func(s Subject) Subject { return s }
	refusing := func(cfsslRequest) any {
		return map[string]any{"success": false, "errors": []map[string]string{{"message": "policy violation"}}}
	}
	good := externalCA(t, root, root, signing(t, root, asAsked))
	gone := &swarm.ExternalCA{URL: "https://127.0.0.1:1/"}
	for name, test := range map[string]struct {
		cas  []*swarm.ExternalCA
		want string // in the error; "": a certificate
	}{
		"signs":                   {[]*swarm.ExternalCA{good}, ""},
		"the first is gone":       {[]*swarm.ExternalCA{gone, good}, ""},
		"refuses":                 {[]*swarm.ExternalCA{externalCA(t, root, root, refusing)}, "refused: policy violation"},
		"answers no JSON":         {[]*swarm.ExternalCA{externalCA(t, root, root, func(cfsslRequest) any { return "<html>" })}, "502 Bad Gateway and no JSON"},
		"certifies somebody else": {[]*swarm.ExternalCA{externalCA(t, root, root, signing(t, root, func(Subject) Subject { return alice }))}, "asked was"},
		"has another root":        {[]*swarm.ExternalCA{externalCA(t, other, root, signing(t, other, asAsked))}, "not of the swarm's root"},
		"does not trust us":       {[]*swarm.ExternalCA{externalCA(t, root, other, signing(t, root, asAsked))}, "tls: "},
		"none":                    {nil, "no external CA"},
	} {
		chain, err := SignExternal(t.Context(), test.cas, root, self, csr, bob)
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case test.want == "":
			if err := checkIssued(chain, root, bob); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		case err == nil || !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), test.want):
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}
