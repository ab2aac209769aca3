package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/ca"
)

func TestSocketOfADeadDaemonIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first, err := listenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	first.(*net.UnixListener).SetUnlinkOnClose(false) // as a killed daemon leaves it
	if _, err := listenUnix(path); err == nil || !strings.Contains(err.Error(), "another daemon answers") {
		t.Errorf("beside a daemon that lives: %v", err)
	}
	first.Close()
	second, err := listenUnix(path)
	if err != nil {
		t.Fatalf("after a daemon that died: %v", err)
	}
	defer second.Close()
	if s, err := os.Stat(path); err != nil || s.Mode().Perm() != 0o660 {
		t.Errorf("mode %v, error %v; want rw for owner and group alone", s.Mode(), err)
	}
}

// pem writes a root and a certificate under it, and returns the files and a pool that trusts the root.
func pem(t *testing.T) (root, cert, key string, pool *x509.CertPool) {
	t.Helper()
	certPEM, keyPEM, err := ca.NewRoot(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ca.ParseRoot(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	own, csr, err := ca.NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	chain, err := signer.Sign(csr, ca.Subject{NodeID: "n1", ClusterID: "c1", Role: swarm.NodeRoleManager}, time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	root, cert, key = filepath.Join(dir, "root"), filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	for path, b := range map[string][]byte{root: certPEM, cert: chain, key: own} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return root, cert, key, pool
}

func TestTCPWithMutualTLS(t *testing.T) {
	root, cert, key, pool := pem(t)
	c := Config{Hosts: []string{"tcp://127.0.0.1:0"}, TLS: TLS{Verify: true, CA: root, Cert: cert, Key: key}}
	listeners, err := c.listen()
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "OK") })}
	go server.Serve(listeners[0])
	defer server.Close()

	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(certs ...tls.Certificate) error {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "n1", Certificates: certs}}}
		resp, err := client.Get("https://" + listeners[0].Addr().String())
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	if err := ask(pair); err != nil {
		t.Errorf("with a certificate: %v", err)
	}
	if ask() == nil {
		t.Error("a client without a certificate was let in")
	}
}

func TestHostsThatCannotBe(t *testing.T) {
	for host, want := range map[string]string{"/run/x": "want unix://", "fd://": "unknown scheme", "tcp://127.0.0.1:x": "unknown port"} {
		c := Config{Hosts: []string{host}}
		if _, err := c.listen(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q in it", host, err, want)
		}
	}
}

func TestOneDaemonPerDataRoot(t *testing.T) {
	dir := t.TempDir()
	c := Config{DataRoot: filepath.Join(dir, "data"), ExecRoot: filepath.Join(dir, "run"), PidFile: filepath.Join(dir, "pid")}
	lock, err := c.claim()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.claim(); err == nil || !strings.Contains(err.Error(), "in use by another daemon") {
		t.Errorf("a second daemon: %v", err)
	}
	lock.Close()
	again, err := c.claim()
	if err != nil {
		t.Fatalf("after the first has ended: %v", err)
	}
	again.Close()
}

func TestMembershipIsKeptOrLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(swarmDir(dir), "raft"), 0o700); err != nil {
		t.Fatal(err)
	}
	if m, err := loadMembership(dir); m != nil || err != nil {
		t.Fatalf("without the mark: %v, %v", m, err)
	}
	if _, err := os.Stat(swarmDir(dir)); !errors.Is(err, os.ErrNotExist) {
		t.Error("what a broken-off join left is still there")
	}
	if err := os.MkdirAll(swarmDir(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := (&membership{NodeID: "n1", ListenAddr: "0.0.0.0:2377"}).save(dir); err != nil {
		t.Fatal(err)
	}
	m, err := loadMembership(dir)
	if err != nil || m == nil || m.NodeID != "n1" {
		t.Fatalf("read back: %+v, %v", m, err)
	}
	if err := forgetMembership(dir); err != nil {
		t.Fatal(err)
	}
	if m, err := loadMembership(dir); m != nil || err != nil {
		t.Errorf("after leaving: %v, %v", m, err)
	}
}
