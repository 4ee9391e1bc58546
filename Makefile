# make help lists the targets.
SHELL := /bin/bash
GO ?= go
SEEDS ?= 500
START ?= 1
SCENARIO ?= random-faults
OPS ?= 4000
DURATION ?= 10m
SEED ?= 0
POINTS ?= 50
# Modules of their own, because they link a real etcd, or what only tests of protocols need.
NESTED := bench/etcd test/etcd test/oracle test/conformance test/http2
# Packages whose tests build our programs and start them. go test does not watch the
# sources of those, and would show what it remembers of others.
STARTING := ./test/e2e ./test/fault

.PHONY: help build test check fmt vet staticcheck race sim fault fault-points oracle conformance fuzz bench-compare bench-grow cover proto clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

build: ## the binaries, in bin/
	$(GO) build -o bin/ ./cmd/raft-kv ./cmd/raft-cli ./bench

# -count=1: see STARTING; some of NESTED do the same.
test: ## every test: units, simulator, real processes
	$(GO) test $$($(GO) list ./... | grep -vxF "$$($(GO) list $(STARTING))")
	$(GO) test -count=1 $(STARTING)
	@set -e; for d in $(NESTED); do echo "$$d: go test ./..."; (cd $$d && $(GO) test -count=1 ./...); done

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

sim: ## the simulator over SEEDS seeds from START of SCENARIO (random-faults, lost-directory, blackouts, changing-members, paused-leaders, lease-reads, slow-followers)
	$(GO) test ./test/sim -run 'TestSeeds$$' -count=1 -timeout=0 -v -seeds=$(SEEDS) -start=$(START) -scenario=$(SCENARIO)

fault: ## real processes and a faulty network for DURATION, faults from SEED (0: by chance)
	$(GO) test ./test/fault -run 'TestMixed$$' -count=1 -timeout=0 -v -duration=$(DURATION) -seed=$(SEED)

fault-points: ## kill -9 at POINTS moments of saves, transfers, installs, restores and member changes
	$(GO) test ./test/fault -run 'TestKillPoints$$' -count=1 -timeout=0 -v -points=$(POINTS) -seed=$(SEED)

conformance: ## etcd's own end-to-end tests against raft-kv: TESTS is a regular expression, AGAINST=etcd tries a real etcd
	cd test/conformance && $(GO) run ./run -tests='$(TESTS)' -against='$(AGAINST)'

fuzz: ## every decoder, FUZZTIME each
	@set -e; for f in $$(grep -rlE '^func Fuzz' --include=*_test.go . | sort); do \
	  for name in $$(grep -oE '^func Fuzz[A-Za-z0-9_]*' $$f | sed 's/func //'); do \
	    echo "$$name ($$(dirname $$f))"; $(GO) test $$(dirname $$f) -run '^$$' -fuzz "^$$name$$" -fuzztime $(or $(FUZZTIME),20s); done; done

oracle: ## OPS random requests a seed to raft-kv and a real etcd: SEEDS seeds from START; HashKV after 20,000
	cd test/oracle && $(GO) test . -count=1 -timeout=0 -v -seeds=$(SEEDS) -start=$(START) -ops=$(OPS) -hash-ops=20000

bench-compare: ## raft-kv beside etcd: builds both, runs all rows (about 40 minutes, on a quiet machine) and writes bench-compare.{json,md}
	$(GO) run ./bench compare --rows='$(ROWS)'
	$(GO) run ./bench report --markdown-file=bench-compare.md

bench-grow: ## raft-kv alone, filled with 0.1, 1 and 10 million keys (KEYS at most)
	$(GO) run ./bench grow --keys-max=$(or $(KEYS),10000000)

bigdata: ## load, read and restart a node whose data is four times its memory (1 GiB in 256 MiB)
	$(GO) test ./test/e2e -run 'TestBigData$$' -count=1 -timeout=0 -v -bigdata-mib=$(or $(DATA_MIB),1024) -bigdata-memory-mib=$(or $(MEMORY_MIB),256)

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
