// Package chaos breaks a cluster of three managers and two workers while clients write and read through all of its managers, and
// holds it to what it promises: the history that the clients saw is linearizable, so that no acknowledged write is lost and no
// read is stale; no slot of a service has two containers on machines that can be reached; tasks run again within a bound; and
// afterwards every node's containers and kernel are what the swarm says.
//
// The faults are: kill -9 of the daemon, the daemon or the whole machine stopped and continued, a power cut, a partition, a
// partition of one direction alone, a slow disk and a full disk; of the leader, a follower and a worker. Clocks are left alone:
// they are the simulation's matter.
//
//	go test ./test/chaos/...                           the short form (root; binaries in bin/, see make build)
//	make chaos COUNT=10                                ten rounds of all faults on all targets
//	SHOAL_CHAOS_FAULTS=leader/full,worker/cut go test ./test/chaos/ -run TestChaos -v
//
// SHOAL_BIN names another folder for the binaries.
package chaos
