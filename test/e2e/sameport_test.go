package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"shoal/test/e2e/load"
)

// sameport PORT HOST:PORT... asks each of them on a connection from one port of the client's, and all of them again while all
// are open. To the task behind them the connections differ only by the node that they came through.
func sameport(_ *testscript.TestScript, s *story, args []string) error {
	own, err := strconv.ParseUint(args[0], 10, 16)
	if err != nil {
		return err
	}
	from := net.Dialer{LocalAddr: &net.TCPAddr{Port: int(own)}, Control: shared}
	asker := make([]*http.Client, len(args[1:]))
	for i := range asker {
		t := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
			if addr, err = s.address(addr); err != nil {
				return nil, err
			}
			err = s.Client().Within(func() error {
				c, err = from.DialContext(ctx, network, addr)
				return err
			})
			return c, err
		}}
		defer t.CloseIdleConnections()
		asker[i] = &http.Client{Timeout: 3 * time.Second, Transport: t}
	}
	for range 2 {
		for i, c := range asker {
			if _, err := load.Get(s.ctx, c, "http://"+args[i+1]+"/"); err != nil {
				return fmt.Errorf("from port %d: %w", own, err)
			}
		}
	}
	return nil
}

// shared lets several connections have one local port.
func shared(_, _ string, c syscall.RawConn) error {
	var err error
	return errors.Join(c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) }), err)
}
