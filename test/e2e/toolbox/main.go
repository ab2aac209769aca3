// Command toolbox is the one program inside the end-to-end tests' images: the sample web server, and the small words that a
// test needs inside a container. It is static, so an image holds it alone.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"shoal/internal/sample/web"
	"shoal/test/e2e/load"
)

var words = map[string]func(context.Context, []string) error{
	"serve": serve, "sleep": sleep, "fail": fail, "eat": eat, "get": get, "lookup": lookup,
	"cat": cat, "env": env, "id": id, "echo": echo, "hostname": hostname, "write": write, "pwd": pwd, "stat": stat, "load": burden, "listen": listen, "probe": probe,
}

func main() {
	words["sh"] = sh // not above: sh itself looks words up
	args := os.Args[1:]
	if name := filepath.Base(os.Args[0]); words[name] != nil {
		args = append([]string{name}, args...) // called by a link
	}
	if len(args) == 0 {
		args = []string{"serve"}
	}
	do := words[args[0]]
	if do == nil {
		fmt.Fprintln(os.Stderr, "unknown word", args[0])
		os.Exit(127)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	err := do(ctx, args[1:])
	if code, ok := errors.AsType[exit](err); ok {
		os.Exit(int(code))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type exit int

func (e exit) Error() string { return "exit " + strconv.Itoa(int(e)) }

func serve(ctx context.Context, _ []string) error {
	fmt.Fprintln(os.Stderr, "a line on stderr")
	if err := echoes(ctx, os.Getenv("LISTEN")); err != nil {
		return err
	}
	return web.Serve(ctx, web.Config{
		Addr: os.Getenv("LISTEN"), Version: os.Getenv("VERSION"), Task: os.Getenv("TASK"), Sick: "/tmp/sick", Log: os.Stdout,
	})
}

// pause waits, or ends at once with ctx.
func pause(ctx context.Context, seconds string) error {
	d, err := time.ParseDuration(seconds + "s")
	if err != nil {
		return err
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func sleep(ctx context.Context, args []string) error { return pause(ctx, args[0]) }

// fail CODE SECONDS
func fail(ctx context.Context, args []string) error {
	if err := pause(ctx, args[1]); err != nil {
		return err
	}
	code, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	fmt.Println("failing with", code)
	return exit(code)
}

// eat MIB: touches that much memory and holds it.
func eat(ctx context.Context, args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	b := make([]byte, n<<20)
	for i := 0; i < len(b); i += os.Getpagesize() {
		b[i] = 1
	}
	fmt.Println("ate", n)
	<-ctx.Done()
	return nil
}

// get N URL: a new connection for each of the N requests (http, or udp with a host and port).
func get(ctx context.Context, args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	c := &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for range n {
		var said string
		if to, ok := strings.CutPrefix(args[1], "udp://"); ok {
			said, err = load.Ask(ctx, new(net.Dialer).DialContext, to)
		} else {
			said, err = load.Get(ctx, c, args[1])
		}
		fmt.Print(said)
		if err != nil {
			return err
		}
	}
	return nil
}

func cat(_ context.Context, args []string) error {
	if len(args) == 0 {
		_, err := io.Copy(os.Stdout, os.Stdin)
		return err
	}
	for _, a := range args {
		b, err := os.ReadFile(a)
		if err != nil {
			return err
		}
		if _, err := os.Stdout.Write(b); err != nil {
			return err
		}
	}
	return nil
}

// sh -c "WORD ARG...": no shell, but enough of one for a health check's command.
func sh(ctx context.Context, args []string) error {
	if len(args) != 2 || args[0] != "-c" {
		return errors.New("want -c and one line")
	}
	f := strings.Fields(args[1])
	if len(f) == 0 || words[f[0]] == nil {
		return exit(127)
	}
	return words[f[0]](ctx, f[1:])
}

// write FILE TEXT
func write(_ context.Context, args []string) error {
	return os.WriteFile(args[0], []byte(args[1]), 0o644)
}

// stat FILE...: mode, owner, group, size and name
func stat(_ context.Context, args []string) error {
	for _, a := range args {
		i, err := os.Stat(a)
		if err != nil {
			return err
		}
		owner := i.Sys().(*syscall.Stat_t)
		fmt.Printf("%04o %d:%d %d %s\n", i.Mode().Perm(), owner.Uid, owner.Gid, i.Size(), a)
	}
	return nil
}

func env(context.Context, []string) error {
	fmt.Println(strings.Join(os.Environ(), "\n"))
	return nil
}

func id(context.Context, []string) error {
	fmt.Printf("uid=%d gid=%d\n", os.Getuid(), os.Getgid())
	return nil
}

func echo(_ context.Context, args []string) error {
	fmt.Println(strings.Join(args, " "))
	return nil
}

func hostname(context.Context, []string) error {
	h, err := os.Hostname()
	fmt.Println(h)
	return err
}

func pwd(context.Context, []string) error {
	d, err := os.Getwd()
	fmt.Println(d)
	return err
}
