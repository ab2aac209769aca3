// Package dispatch is the manager's side of the nodes' sessions, on the leader: what each node should hold goes down,
// what became of it comes up.
//
// What a node should hold is a pure function of the store ([Assignments], [Link], [Ports]); a session remembers only
// what it has sent, and sends the difference. Work follows changes: a status touches the nodes that share a network with
// the task, a new task its own node; nothing walks all tasks but the start of a leader's term. Statuses that come up are
// gathered into few commits, and acknowledged when they are in the store.
//
// Who is READY and who is DOWN is decided here ([Judge]) and written to the store; what follows from that is not. A
// heartbeat never enters the store. The package dials nobody but, to see whether a silent machine lives, its port 2377.
package dispatch
