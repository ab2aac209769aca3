package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// listen opens every host of c. A socket file whose daemon is gone is replaced; one that answers is an error.
func (c *Config) listen() ([]net.Listener, error) {
	var out []net.Listener
	for _, host := range c.Hosts {
		l, err := c.listenOne(host)
		if err != nil {
			for _, l := range out {
				l.Close()
			}
			return nil, fmt.Errorf("--host %s: %w", host, err)
		}
		out = append(out, l)
	}
	return out, nil
}

func (c *Config) listenOne(host string) (net.Listener, error) {
	scheme, addr, ok := strings.Cut(host, "://")
	if !ok {
		return nil, errors.New("want unix:///path or tcp://address:port")
	}
	switch scheme {
	case "unix":
		return listenUnix(addr)
	case "tcp":
		l, err := net.Listen("tcp", addr)
		if err != nil || !(c.TLS.On || c.TLS.Verify) {
			return l, err
		}
		conf, err := c.TLS.config()
		if err != nil {
			l.Close()
			return nil, err
		}
		return tls.NewListener(l, conf), nil
	}
	return nil, fmt.Errorf("unknown scheme %q: want unix or tcp", scheme)
}

// listenUnix serves path, readable by root and the group docker where there is one.
func listenUnix(path string) (net.Listener, error) {
	if conn, err := net.Dial("unix", path); err == nil {
		conn.Close()
		return nil, errors.New("another daemon answers there")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	old := syscall.Umask(0o177)
	l, err := net.Listen("unix", path)
	syscall.Umask(old)
	if err != nil {
		return nil, err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(true)
	gid := 0
	if g, err := user.LookupGroup("docker"); err == nil {
		gid, _ = strconv.Atoi(g.Gid)
	}
	if err := errors.Join(os.Chown(path, 0, gid), os.Chmod(path, 0o660)); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func (t TLS) config() (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, fmt.Errorf("--tlscert and --tlskey: %w", err)
	}
	conf := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	if t.Verify {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("--tlscacert: %w", err)
		}
		conf.ClientCAs, conf.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		if !conf.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--tlscacert %s: no certificate in it", t.CA)
		}
	}
	return conf, nil
}

// claim takes the data root for this daemon until the returned file is closed, and writes the pid file.
func (c *Config) claim() (*os.File, error) {
	for _, dir := range []string{c.DataRoot, c.ExecRoot} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return nil, err
		}
	}
	lock, err := os.OpenFile(filepath.Join(c.DataRoot, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("data root %s is in use by another daemon: stop it, or choose another --data-root", c.DataRoot)
	}
	if c.PidFile != "" {
		if err := os.MkdirAll(filepath.Dir(c.PidFile), 0o755); err != nil {
			lock.Close()
			return nil, err
		}
		if err := os.WriteFile(c.PidFile, []byte(strconv.Itoa(os.Getpid())), 0o644); err != nil {
			lock.Close()
			return nil, err
		}
	}
	return lock, nil
}
