// Package quickstart shows Shoal to a newcomer: a cluster of five machines on this one (a playground), a service that answers on
// each of them, and what happens when a container, a worker and a manager are lost. Every step is a command line that the reader
// could have typed, shown before it runs; every claim is checked before it is printed, and every time in it was taken.
//
// It makes nothing that Remove does not find again: the playground, and one process that leads a port of this machine to it,
// whose number lies in the playground's folder.
package quickstart
