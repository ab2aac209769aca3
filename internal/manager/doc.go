// Package manager is the leader's life: while this node leads, it watches the store, runs passes and commits plans.
//
// A pass takes the services that something happened to, asks reconcile what each needs, gives new tasks their addresses
// and ports (allocate), places them and what waited (schedule), and writes the result as one transaction: a task is born
// with its addresses and its node. All decisions are made in the pure rooms; here is only which services to look at, when
// to look again, and the commit.
//
// The package keeps nothing that a new leader could not recompute from the store: the set of services to look at starts
// as all of them.
package manager
