// Package agent is a node's side of its session: it holds a connection to the leader, keeps the data plane and the
// tasks as the manager wants them, and reports what became of them.
//
// It decides nothing about the cluster: which tasks run here is the manager's word ([cluster.Down]), how a container is
// run is the [Executor]'s. It is level-triggered: every task has one small state machine that compares what is wanted
// with what is, so a repeated message, a reconnect or a restart of the daemon changes nothing. What it was told lies on
// disk, without secrets, and containers run on with no manager at all.
//
//	a := agent.New(agent.Config{Dir: dir, Identity: identity, Executor: engine, Network: network, Log: log})
//	err := a.Run(ctx)
package agent
