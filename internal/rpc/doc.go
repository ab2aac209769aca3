// Package rpc is port 2377: everything that nodes say to one another goes over this one port, under mutual TLS 1.3.
//
// The protocol is chosen by ALPN: gRPC ("h2", our codec over the Go types, no .proto), Raft's raw connections
// ("shoal-raft") and the Docker API between managers ("shoal-api"). A caller without a certificate may fetch the root
// and ask for a certificate with a join token, nothing else. Who may call what stands in ONE table (methods.go), and
// admission (identity.go) is the only place that reads it.
//
// The server side decides who the caller is, whether it may call, and whether this manager answers or the leader does;
// it issues certificates and adds managers to Raft. It never opens a connection to a worker.
//
//	server := rpc.NewServer(rpc.Config{Identity: identity, Store: store, …})
//	transport := raftstore.NewTransport(server.Raft(), …)
//	go server.Serve(listener)
//
//	client, err := rpc.Dial(ctx, identity, "10.0.0.1:2377")
//	leader, err := client.Leader(ctx)
package rpc
