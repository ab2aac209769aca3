// Package playground makes a cluster of machines out of one. A machine is a set of network, PID, mount, UTS, IPC and cgroup
// namespaces held by a small init process, with a disk of its own (a folder), an address on a switch, and a daemon started
// inside it. It is a feature for users (`shoal playground`) and the ground that the end-to-end tests stand on.
//
//	p, err := playground.New(playground.Config{Dir: dir})
//	defer p.Remove()
//	m, err := p.Machine(1)
//	err = m.Boot(ctx)
//	err = m.StartDaemon(ctx)
//	code, err := m.Run(ctx, playground.Command{Args: []string{"shoal", "swarm", "init"}})
//	m.Off()                      // a power cut: everything on it dies at once, its disk stays
//
// Two more machines without a daemon belong to every playground: the switch (a bridge, and the image registry) and the client,
// which stands outside the cluster. Nothing is pinned in the file system: namespaces live as long as their init, so that
// removing a playground leaves nothing behind. All of it is done by system calls and netlink; no program is called.
//
// The package never looks into a cluster: forming one over these machines is the caller's (see the cli package).
package playground
