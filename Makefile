# Every target is a line that you could type yourself; `make` alone prints them. What needs an `if` is a Go program.
export GOFLAGS := -buildvcs=false
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
SEEDS := 10000
FIRST := 0
STAMP := -s -w -X shoal/internal/cluster.Version=$(VERSION)
CONTAINERD := v2.4.2
BENCH := ./internal/reconcile/... ./internal/schedule/... ./internal/allocate/... ./internal/network/plan/... ./internal/store/... \
	./internal/raftstore/... ./internal/controlplane/...

COUNT ?= 1

.PHONY: help build test unit e2e sim chaos bench lint generate quickstart quickstart-clean clean ci
help: ## print these targets
	@grep -hE '^[a-z0-9-]+:.*##' Makefile | sed 's/:.*##/\t/' | expand -t 20
build: bin/containerd bin/runc ## build what a machine needs into bin/
	CGO_ENABLED=0 go build -trimpath -ldflags "$(STAMP)" -o bin/ ./cmd/shoal ./cmd/shoal-sample
	CGO_ENABLED=0 go build -trimpath -tags "no_grpc osusergo netgo" -ldflags "$(STAMP)" -o bin/ ./cmd/containerd-shim-shoal-v1
test: lint unit e2e ## everything that must pass before a change lands
unit: build ## unit tests, with the race detector and in random order
	./tools/prerequisites
	go test -shuffle=on ./internal/reconcile/... ./internal/sim # 10,000 histories of a pure function, 1,000 seeds of a swarm
	CGO_ENABLED=1 go test -race -shuffle=on $$(go list ./cmd/... ./internal/... | grep -v /internal/reconcile)
e2e: build ## end-to-end stories against real clusters on this machine (root)
	./tools/prerequisites e2e
	go test -count=1 -p 1 -parallel 2 -timeout 30m ./test/...
sim: ## the simulated swarm for SEEDS=10000 seeds, from FIRST=0 on
	go test -count=1 -timeout 0 -run 'TestSeeds$$' ./internal/sim -first=$(FIRST) -seeds=$(SEEDS)
chaos: build ## every fault on every kind of machine while clients work, COUNT=1 rounds of about ten minutes (root)
	SHOAL_CHAOS_COUNT=$(COUNT) go test -count=1 -timeout 24h -v -run 'TestChaos|TestQuorumLost' ./test/chaos
bench: build ## benchmarks: decisions, store, and whole daemons beside docker.io (root)
	go test -run '^$$' -bench . -benchmem $(BENCH)
	go test -run '^$$' -bench Replicas -benchtime 5x -timeout 30m -v ./bench
	go test -run '^$$' -bench 'Idle$$|Container|Worker|Leader|Join|IdleCluster' -benchtime 1x -timeout 60m -v ./bench
lint: ## formatting, vet and linters
	./tools/lint/run
generate: ## rewrite generated files and golden files
	go generate ./...
quickstart: build ## a cluster of five machines on this one, broken and healed (root)
	bin/shoal quickstart
quickstart-clean: ## remove what quickstart made, without a trace
	bin/shoal quickstart --remove
clean: ## remove what build made
	rm -rf bin
ci: ## what CI runs
	./.ci/run

# The foreign binaries change only with their pins. Flags: docs/adr/0002-four-binaries.md.
bin/containerd: tools/go.sum
	./tools/prerequisites
	CGO_ENABLED=0 go build -C tools -trimpath -tags "urfave_cli_no_docs no_btrfs no_devmapper no_zfs no_cri no_tracing osusergo netgo static_build" -ldflags "-s -w -X github.com/containerd/containerd/v2/version.Version=$(CONTAINERD)" -o ../bin/ github.com/containerd/containerd/v2/cmd/containerd
	@touch $@
bin/runc: tools/go.sum
	./tools/prerequisites
	CGO_ENABLED=1 go build -C tools -trimpath -tags "seccomp urfave_cli_no_docs osusergo netgo" -ldflags "-s -w -extldflags -static" -o ../bin/ github.com/opencontainers/runc
	@touch $@
