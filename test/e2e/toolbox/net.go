package main

import (
	"context"
	"fmt"
	"net"
	"os"

	"shoal/test/e2e/load"
)

// lookup NAME [ip4|ip6|ptr|srv [tcp]]
func lookup(ctx context.Context, args []string) error {
	kind, from := "ip4", net.DefaultResolver
	if len(args) > 2 {
		from = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, server string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, args[2], server)
		}}
	}
	if len(args) > 1 {
		kind = args[1]
	}
	switch kind {
	case "ptr":
		names, err := from.LookupAddr(ctx, args[0])
		for _, n := range names {
			fmt.Println(n)
		}
		return err
	case "srv":
		_, list, err := from.LookupSRV(ctx, "", "", args[0])
		for _, s := range list {
			fmt.Println(s.Target, s.Port)
		}
		return err
	}
	ips, err := from.LookupIP(ctx, kind, args[0])
	for _, ip := range ips {
		fmt.Println(ip)
	}
	return err
}

// burden asks until SIGTERM, and tells how many requests have failed: load URL...
func burden(ctx context.Context, args []string) error {
	l := load.Start(context.WithoutCancel(ctx), nil, args...)
	<-ctx.Done()
	fmt.Println(l.Stop())
	return nil
}

// listen ADDRESS answers every connection with a line of its own.
func listen(ctx context.Context, args []string) error {
	l, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { l.Close() })
	fmt.Println("listening")
	for {
		c, err := l.Accept()
		if err != nil {
			return nil
		}
		fmt.Fprint(c, "HTTP/1.0 200 OK\r\n\r\nhost=listener caller=nobody\n")
		c.Close()
	}
}

// echoes answers datagrams on the web server's port with who answered and who asked.
func echoes(ctx context.Context, address string) error {
	if address == "" {
		address = ":80"
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	c, err := net.ListenPacket("udp", address)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { c.Close() })
	go func() {
		b := make([]byte, 1500)
		for {
			_, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			caller, _, _ := net.SplitHostPort(from.String())
			_, _ = c.WriteTo(fmt.Appendf(nil, "version=%s host=%s caller=%s\n", os.Getenv("VERSION"), host, caller), from)
		}
	}()
	return nil
}
