// Package schedule decides which node a task runs on, and says in words why it can run on none.
//
// [Nodes] holds what every node has left; it is built from the stored nodes and tasks, may be kept between passes as a
// cache ([Nodes.Add], [Nodes.Remove]), and may be dropped at any time. [Place] books a group of tasks of one spec in
// it: the nodes are filtered once for the group, then taken from a heap, so the cost is O(N + T log N). Tasks that have
// a NodeID already (global modes) are only checked against that node.
//
// The package is pure: no clock, no randomness; ties go to the lower node ID. It changes no task: the caller writes
// NodeID, Generic, or the refusal.
//
//	nodes := schedule.NewNodes(all, tasks, specs, now)
//	placed, refused := schedule.Place(schedule.Group{Spec: spec, ServiceID: id, Tasks: pending}, nodes)
package schedule
