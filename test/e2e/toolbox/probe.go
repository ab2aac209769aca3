package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"
)

// probe SECONDS HOST:PORT sends a datagram every four milliseconds to one that echoes, and fails unless all came back.
func probe(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return errors.New("want seconds and a destination")
	}
	seconds, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	c, err := new(net.Dialer).DialContext(ctx, "udp", args[1])
	if err != nil {
		return err
	}
	defer c.Close()
	got := make(chan int)
	go func() {
		count, b := 0, make([]byte, 1500)
		for {
			if _, err := c.Read(b); err != nil {
				got <- count
				return
			}
			count++
		}
	}()
	sent := 0
	ticker := time.NewTicker(4 * time.Millisecond)
	defer ticker.Stop()
	end := time.After(time.Duration(seconds) * time.Second)
	for running := true; running; {
		select {
		case <-ticker.C:
			if _, err := c.Write([]byte("?")); err != nil {
				return err
			}
			sent++
		case <-end:
			running = false
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := c.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return err
	}
	back := <-got
	fmt.Printf("sent=%d back=%d\n", sent, back)
	if back != sent {
		return exit(1)
	}
	return nil
}
