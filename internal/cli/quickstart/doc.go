// Package quickstart shows Shoal to a newcomer on one machine: a daemon, a swarm, a service that answers, scales, heals and
// outlives its daemon. Every step is a command line that the reader could have typed, shown before it runs; every claim is
// checked before it is printed.
//
// It makes nothing that Remove does not find again: all state lies in two folders, and its two background processes (the
// daemon and the registry of the sample image) have their numbers in files there.
package quickstart
