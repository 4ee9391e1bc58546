# make help lists the targets.
SHELL := /bin/bash
GO ?= go
SEEDS ?= 500
START ?= 1
# Modules of their own, because they link a real etcd.
NESTED := bench/etcd test/etcd test/oracle

.PHONY: help build test check fmt vet staticcheck race sim oracle fuzz bench-compare cover proto clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

build: ## the binaries, in bin/
	$(GO) build -o bin/ ./cmd/raft-kv ./cmd/raft-cli ./bench

test: ## every test: units, simulator, real processes
	$(GO) test ./...
	@set -e; for d in $(NESTED); do echo "$$d: go test ./..."; (cd $$d && $(GO) test ./...); done

check: fmt vet staticcheck test ## what CI runs

fmt:
	@files=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$files" ]; then echo "not gofmt-ed:"; echo "$$files"; exit 1; fi

vet:
	$(GO) vet ./...
	@set -e; for d in $(NESTED); do echo "$$d: go vet ./..."; (cd $$d && $(GO) vet ./...); done

staticcheck:
	$(GO) tool staticcheck ./...

race: ## every test with the race detector (slow)
	$(GO) test -race ./...

sim: ## the simulator over SEEDS seeds from START
	$(GO) test ./test/sim -run 'TestSeeds$$' -count=1 -timeout=0 -v -seeds=$(SEEDS) -start=$(START)

fuzz: ## every decoder, FUZZTIME each
	@set -e; for f in $$(grep -rlE '^func Fuzz' --include=*_test.go . | sort); do \
	  for name in $$(grep -oE '^func Fuzz[A-Za-z0-9_]*' $$f | sed 's/func //'); do \
	    echo "$$name ($$(dirname $$f))"; $(GO) test $$(dirname $$f) -run '^$$' -fuzz "^$$name$$" -fuzztime $(or $(FUZZTIME),20s); done; done

oracle: ## random requests against raft-kv and a real etcd: SEEDS seeds from START
	cd test/oracle && $(GO) test . -count=1 -timeout=0 -v -seeds=$(SEEDS) -start=$(START)

bench-compare: ## raft-kv beside etcd, alternating rounds
	$(GO) run ./bench compare

cover: ## test coverage, as coverage.html
	$(GO) test -coverpkg=./... -coverprofile=coverage.out ./...
	$(GO) tool cover -html=coverage.out -o coverage.html
	$(GO) tool cover -func=coverage.out | tail -n 1

proto: ## regenerate *.pb.go (needs protoc)
	@mkdir -p bin
	$(GO) build -o bin/ google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
	protoc --plugin=bin/protoc-gen-go --plugin=bin/protoc-gen-go-grpc -I . \
	  -I $$($(GO) list -m -f '{{.Dir}}' go.etcd.io/raft/v3)/raftpb \
	  --go_out=. --go_opt=module=raftkv --go-grpc_out=. --go-grpc_opt=module=raftkv \
	  rpc/kvstream/kvpb/kv.proto rpc/peer/peerpb/peer.proto

clean:
	rm -rf bin coverage.out coverage.html
