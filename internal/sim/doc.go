// Package sim runs a whole swarm in one process: the real stores, managers, dispatchers, agents and API verbs, over a
// replicated log, executors, a network and clocks that are simulated. One number, the seed, chooses everything: how many
// machines there are, what clients ask for, what containers do, and every crash, cut, delay and lost reply. After each
// transaction and step the rules of the swarm are checked (rules.go, owners.go, rollouts.go, written.go), and at the end,
// when all faults have healed, the swarm must come to rest as its services ask (rest.go).
//
// What is real: store, manager, reconcile, allocate, schedule, controlplane, dispatch and agent, their goroutines and
// timers included, and certificates with the calls that give them and that make managers. What is not: Raft itself
// (hashicorp/raft keeps its own goroutines and clock; group.go and seat.go stand for it and its members, by what it promises
// and what it leaves open), TLS and gRPC (conn.go: streams that keep their order, are delayed, held up, cut and reset), the
// daemon's change of role (role.go does what it does), containers (engine.go) and the kernel's data plane.
//
// A run ends: a swarm that comes to no rest fails after twenty minutes of its own time, the whole run after three hours, and
// one that spins at one instant after five minutes of ours. Each names its seed.
//
//	go test ./internal/sim                          # 1,000 seeds
//	go test ./internal/sim -run TestSeeds -seed=N   # one, as a failure says, with its story
//	make sim SEEDS=10000
//
// # What is the same each time
//
// A run lives in a synctest bubble on one processor: time moves only when every goroutine waits, and every delay is a
// function of the seed and of what is delayed, in nanoseconds, so that hardly ever two things happen at one instant. What
// the simulation itself draws is the same in every run of a seed. What Go leaves to chance inside the product (the case
// that a select takes when several are ready, the order in which a map is walked, a goroutine that is taken off the
// processor) can exchange things of one instant, and what follows is another story then. About one run in a hundred goes
// another way so, more where the machine is very busy; TestSameSeedSameStory holds that most do not. Under the race
// detector goroutines are shuffled on purpose. A seed that failed and passes when it is run again is such a case: run it
// some times more.
package sim
