// Command app is the process inside the containers of the engine's tests: it does the one thing its arguments say.
package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		os.Exit(2)
	}
	rest := os.Args[2:]
	switch os.Args[1] {
	case "exit": // exit CODE
		n, _ := strconv.Atoi(rest[0])
		fmt.Println("out: ending with", n)
		fmt.Fprintln(os.Stderr, "err: ending with", n)
		os.Exit(n)
	case "count": // count N: lines as fast as they go
		n, _ := strconv.Atoi(rest[0])
		for i := range n {
			fmt.Println("line", i)
		}
	case "tick": // tick DURATION CODE: a line every 10 ms
		d, _ := time.ParseDuration(rest[0])
		n, _ := strconv.Atoi(rest[1])
		end := time.After(d)
		tick := time.NewTicker(10 * time.Millisecond)
		for i := 0; ; i++ {
			fmt.Println("tick", i)
			select {
			case <-end:
				os.Exit(n)
			case <-tick.C:
			}
		}
	case "wait": // wait [SIGNAL-NUMBER EXIT-CODE]: for ever, or until the signal
		c := make(chan os.Signal, 1)
		if len(rest) == 2 {
			s, _ := strconv.Atoi(rest[0])
			n, _ := strconv.Atoi(rest[1])
			signal.Notify(c, syscall.Signal(s))
			fmt.Println("ready")
			<-c
			os.Exit(n)
		}
		signal.Notify(c)
		fmt.Println("ready")
		for range c {
		}
	case "eat": // eat MIB
		n, _ := strconv.Atoi(rest[0])
		var keep [][]byte
		for range n {
			b := make([]byte, 1<<20)
			for i := range b {
				b[i] = 1
			}
			keep = append(keep, b)
		}
		fmt.Println(len(keep))
	case "cat": // cat FILE…: files, or standard input
		if len(rest) == 0 {
			io.Copy(os.Stdout, os.Stdin)
		}
		for _, f := range rest {
			b, err := os.ReadFile(f)
			if err != nil {
				fmt.Println(err)
				continue
			}
			os.Stdout.Write(b)
		}
	case "env":
		fmt.Println(strings.Join(os.Environ(), "\n"))
	case "who":
		host, _ := os.Hostname()
		dir, _ := os.Getwd()
		fmt.Println(os.Getpid(), os.Getuid(), os.Getgid(), host, dir, os.Args[0])
	case "write": // write FILE: says whether it could
		if err := os.WriteFile(rest[0], []byte("x"), 0o600); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("written")
	case "healthy": // healthy FILE: whether the file is there
		if _, err := os.Stat(rest[0]); err != nil {
			fmt.Println("not yet")
			os.Exit(1)
		}
	default:
		os.Exit(2)
	}
}
