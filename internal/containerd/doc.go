// Package containerd supervises the daemon's private containerd, or holds the connection to one that was given.
//
// It decides whether one must be started: it asks on the socket first and starts a child only when nobody answers,
// since a child outlives the daemon that started it and is found again by the next one. A child that dies is started
// again, at growing distances. It never touches a containerd of the machine's own: configuration, state, sockets and
// runc's state all lie in the directories it is given.
//
//	s, err := containerd.Start(ctx, containerd.Config{Binary: "/usr/libexec/shoal/containerd", Root: root, State: state})
//	defer s.Close() // the child runs on; s.Stop ends it
//	s.Client().Version(ctx)
package containerd
