// Package sim runs a whole swarm in one process: the real stores, managers, dispatchers, agents and API verbs, over a
// replicated log, executors, a network and clocks that are simulated. One number, the seed, chooses everything: how many
// machines there are, what clients ask for, what containers do, and every crash, cut, delay and lost reply. After each
// step the rules of the swarm are checked (invariant.go, slots.go), and at the end, when all faults have healed, the
// swarm must come to rest as its services ask (rest.go).
//
// What is real: store, manager, reconcile, allocate, schedule, controlplane, dispatch and agent, their goroutines and
// timers included. What is not: Raft itself (hashicorp/raft keeps its own goroutines and clock; group.go stands for it,
// by what it promises and what it leaves open), certificates and gRPC (conn.go: streams that keep their order, are
// delayed, held up, cut and reset), containers (engine.go) and the kernel's data plane.
//
//	go test ./internal/sim                          # 1,000 seeds
//	go test ./internal/sim -run TestSeeds -seed=N   # one, as a failure says, with its story
//	make sim SEEDS=10000
//
// # What is the same each time
//
// A run lives in a synctest bubble on one processor: time moves only when every goroutine waits, and every delay is a
// function of the seed and of what is delayed, in nanoseconds, so that hardly ever two things happen at one instant. All
// that the simulation itself chooses is the same in every run of a seed. What Go leaves to chance inside the product
// (the case that a select takes when several are ready, the order in which a map is walked, a goroutine that the kernel
// takes off the processor) can exchange things of one instant; most runs are the same to the last entry of the log all
// the same, and TestSameSeedSameStory holds that. Under the race detector goroutines are shuffled on purpose.
package sim
