// Package e2e tests Shoal from outside: stories in testdata, one a file, in which the docker CLI drives real daemons with real
// containers on machines of a playground (see internal/cli/playground). Each story has machines, a network and a registry of its
// own, so stories run side by side, and what a failed one leaves is removed too.
//
// Beside testscript's own words a story has these; "!" before a word wants it to fail:
//
//	cluster MANAGERS [WORKERS]   boots machines 1, 2, … with a daemon each and makes one swarm of them
//	machines N                   boots them without a swarm
//	docker [@N] ARG...           the docker CLI against node 1, or node N
//	on N COMMAND [ARG...]        a command on machine N ("client" is a machine outside the cluster)
//	until [@N] REGEXP ARG...     repeats docker ARG... until its output matches, for 60 s at most
//	as NAME                      puts the output of the last command into $NAME
//	service NAME RUNNING/WANTED  waits until the service has so many tasks, 60 s at most
//	kept NAME                    remembers the service's containers; a second one fails if they have changed
//	answers N URL                asks from the client until N different hosts have answered, 60 s at most
//	spread [@N] HOSTS COUNT URL... asks each URL (http or udp) so often, from the client or machine N: every request is
//	                             answered, by so many hosts, which see the client's own address. node2-6 is node2's IPv6 address
//	tap start N                  keeps what goes over machine N's cable; "tap saw TEXT" and "tap clean TEXT" want it to have, or not
//	                             to have, TEXT in it, and end the tap
//	load start URL... | load stop asks from the client all the time; stop prints "failed: X of Y, so many/s"
//	flows start N URL            opens connections from the client; half are asked ten times a second, half wait. "flows ended HOST"
//	                             wants those to hosts that begin so, and no others, ended soon; "flows stop" tells
//	let VAR [@N] ARG...          sets a variable to what docker ARG... prints
//	off N, on-again N            cuts a machine's power; boots it and starts its daemon
//	wipe N                       empties the disk of a machine that is off
//	crash N, down N              kills the daemon (kill -9), ends it in good order
//	up N [FLAG...]               starts it, with more flags than it always has
//	move N                       gives a machine another address, $MOVED, in place of its own
//	cut N, heal N                pulls a machine's cable, plugs it in again
//
// $REGISTRY is the registry's address. $VICTIM is set by `pick NAME`: a container of the service on node 1.
package e2e
