# Everything that is built, tested or run here takes its settings from this file; nothing else sets them.

# The tag takes OpenPGP from Go instead of the C library gpgme. The other one matters only where cgo is on (the race detector):
# a storage driver that image/v5 pulls in would want the headers of btrfs.
TAGS := containers_image_openpgp,exclude_graphdriver_btrfs

# With -trimpath, what is compiled serves any checkout, and what is released (examples/dist) too.
export CGO_ENABLED := 0
export GOFLAGS := -trimpath -tags=$(TAGS) -buildvcs=false
export GOWORK :=

# Where there is no home, or one that cannot be written, what the go command keeps there is below .bin.
ifneq ($(shell test -w "$$HOME" && echo writable),writable)
export GOCACHE ?= $(CURDIR)/.bin/home/go-build
export GOPATH ?= $(CURDIR)/.bin/home/go
endif

# The library, and the examples with their heavier dependencies. go.work makes one workspace of them. Other modules here are tools, each
# with dependencies that are nobody else's: they are built with GOWORK=off.
MODULES := . ./examples

# How long each fuzz target runs, which benchmarks run, and how often.
FUZZTIME ?= 10s
BENCH ?= .
BENCHCOUNT ?= 1

# $(call dirs_with,PATTERN): the directories whose tests contain the extended regular expression PATTERN.
dirs_with = $$(grep -rlE --exclude-dir=.bin --include='*_test.go' '$(1)' . | xargs -r dirname | sort -u)

# The race detector needs cgo and a C compiler that works. Optimising the C code (it is sqlite) costs a minute and speeds up no test.
RACE_ENV := CGO_ENABLED=1 CGO_CFLAGS=-O0 GORACE=atexit_sleep_ms=0

# Opening a key and compressing take five to ten times as long under the race detector. What computes so starts no goroutine, and shares
# nothing with one that its caller, who stays under it, does not share.
UNRACED := golang.org/x/crypto/scrypt compress/flate

# What only debuggers read (DWARF) takes a quarter of the time of compiling; traces of the stack and reports of races do without.
RACE := -race -gcflags=all=-dwarf=false $(UNRACED:%=-gcflags=%=-race=false)

# Tests that measure memory, or kill many processes, are not compiled with the race detector; internal/archtest holds this list complete.
WITHOUT_RACE := TestCopierMemory|TestMemoryOfLargeLists|TestMemoryOfLargeReads|TestMemoryOfLargePushesAndReads|TestKilledAtAnyMoment

.PHONY: check
check: fmt vet lint offline test ## what a reviewer runs: format, vet, lint, demo without a network, race tests (the default)

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## mirror two platforms of an image between two registries on loopback, and verify it
	@go -C examples run ./demo

.PHONY: playground
playground: ## a shell beside two registries on loopback, to try the command mirror in
	@mkdir -p .bin; go -C examples build -o $(CURDIR)/.bin/ ./demo ./mirror
	@.bin/demo playground

.PHONY: drawing
drawing: ## draw the README's picture of keep, strip and auto anew
	@go -C examples run ./drawing >docs/images/actions.svg.new && mv docs/images/actions.svg.new docs/images/actions.svg

# Tests wait more than they compute, so more packages than processors run at a time. What go test would vet, make vet does.
.PHONY: test
test: ## the tests of both modules, with the race detector where there is a C compiler, but for those of memory
	@if $(RACE_ENV) go build -race runtime/cgo 2>/dev/null; then \
		export $(RACE_ENV); race='$(RACE)'; \
	else \
		race=; echo "make test: no working C compiler, so the race detector is off" >&2; \
	fi; \
	failed=0; \
	go test $$race -vet=off -p 4 -timeout 45m $(MODULES:%=%/...) || failed=1; \
	test -z "$$race" || CGO_ENABLED=0 go test -vet=off -run '^($(WITHOUT_RACE))$$' ./copy ./examples/internal/sparseserver || failed=1; \
	exit $$failed

.PHONY: fmt
fmt: ## name the files that gofmt would change
	@unformatted=$$(find . -name .bin -prune -o -name '*.go' -print0 | xargs -0 gofmt -l); test -z "$$unformatted" || { echo "not formatted by gofmt:"; echo "$$unformatted"; exit 1; } >&2

.PHONY: vet
vet: ## go vet on both modules
	@for module in $(MODULES); do go -C $$module vet ./... || exit 1; done

# Neither system runs here, so this is all that is known of them, tests included. It compiles everything once more for each.
.PHONY: vet-systems
vet-systems: ## go vet on both modules and their tests as they are on Windows and macOS, in five minutes
	@for system in windows darwin; do for module in $(MODULES); do GOOS=$$system go -C $$module vet ./... || exit 1; done; done

# What both modules import is analysed once, in one run. With Go's own percentage, a third of the time goes to collecting garbage; the limit
# keeps that to machines of usual size.
.PHONY: lint
lint: ## golangci-lint, as pinned in tools/go.mod, on both modules
	@mkdir -p .bin/tools; GOWORK=off go -C tools build -o $(CURDIR)/.bin/tools/ tool
	@GOGC=400 GOMEMLIMIT=3GiB .bin/tools/golangci-lint run $(MODULES:%=%/...)

# What examples is to require, as example.com/module@v1.2.3.
MODULE ?=

# The go command does not ask go.work when it changes a go.mod, and the library that examples requires may not be published yet: the go.mod
# of examples is brought up to date in a copy, which says where the library is.
.PHONY: tidy
tidy: ## bring go.mod and go.sum of both modules up to date; MODULE is one that examples gets, as example.com/module@v1.2.3
	@rm -rf .bin/tidy; mkdir -p .bin/tidy; cp examples/go.mod examples/go.sum .bin/tidy/
	@go mod edit -replace=github.com/sparsecopy/sparsecopy=$(CURDIR) .bin/tidy/go.mod
	@export GOWORK=off GOFLAGS="$$GOFLAGS -modfile=$(CURDIR)/.bin/tidy/go.mod"; cd examples && $(if $(MODULE),go get $(MODULE) &&) go mod tidy
	@go mod edit -dropreplace=github.com/sparsecopy/sparsecopy .bin/tidy/go.mod; cp .bin/tidy/go.mod .bin/tidy/go.sum examples/
	@GOWORK=off go mod tidy
	@GOWORK=off go -C examples/sparse-registry-cloud mod tidy
	@rm -f go.work.sum; go list -m all >/dev/null; for module in $(MODULES); do go -C $$module list -deps -test ./... >/dev/null || exit 1; done

# Object stores come with the clouds' own libraries, which nothing else here compiles: a module of its own, and no part of make check.
.PHONY: cloud
cloud: ## vet sparse-registry with the drivers for object stores, and test it over an S3 server in process, in some minutes
	@for driver in s3 gcs azure; do GOWORK=off go -C examples/sparse-registry-cloud vet -tags=$(TAGS),$$driver ./... || exit 1; done
	@GOWORK=off go -C examples/sparse-registry-cloud test -tags=$(TAGS),s3 ./...

# Go programs skip the proxy for loopback only: whatever leaves the machine ends at a port where nobody listens.
.PHONY: offline
offline:
	@go -C examples build -ldflags=-w -o $(CURDIR)/.bin/demo ./demo
	@HTTP_PROXY=http://127.0.0.1:9 HTTPS_PROXY=http://127.0.0.1:9 NO_PROXY= .bin/demo

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME (10s)
	@for dir in $(call dirs_with,^func Fuzz); do \
		for target in $$(sed -nE 's/^func (Fuzz[A-Za-z0-9_]*)\(.*/\1/p' $$dir/*_test.go); do \
			echo "$$dir $$target"; \
			go -C $$dir test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) . || exit 1; \
		done; \
	done

# Packages to be mutated, as manifest; none means all that internal/mutate names. The limit (in KiB) is for mutants that never stop asking
# for memory.
MUTATE ?=

.PHONY: mutate
mutate: ## change one operator after the other in the pure packages, and see tests fail, in an hour or so; MUTATE names some
	@export GOWORK=off; ulimit -v 16777216 2>/dev/null; mkdir -p .bin; go build -o .bin/mutate ./internal/mutate && .bin/mutate $(MUTATE)

.PHONY: torture
torture: ## the full form of the tests of reliability, in ten minutes to half an hour; docs/reliability.md says what they do
	@mkdir -p .bin; export SPARSECOPY_TORTURE=full; failed=0; \
	for dir in copy/internal/torture examples/e2e examples/internal/storagetorture; do \
		go -C $$dir test -count=1 -v -timeout 2h -run '^TestTorture' . || failed=1; \
	done >.bin/torture.log 2>&1; \
	go test -count=20 -run 'Properties$$' ./copy/plan -plan-seed=0 >>.bin/torture.log 2>&1 || failed=1; \
	grep -E '^ *[a-z]*_test.go|^--- |^FAIL|^ok|left behind' .bin/torture.log; exit $$failed

.PHONY: bench
bench: ## run the benchmarks that match BENCH (.), BENCHCOUNT (1) times
	@for dir in $(call dirs_with,^func Benchmark); do \
		go -C $$dir test -run '^$$' -bench '$(BENCH)' -benchmem -count $(BENCHCOUNT) . || exit 1; \
	done

.PHONY: bench-peers
bench-peers: ## measure copies beside upstream's, oras-go's, crane's, regsync's and a minimal one, in half an hour; PEERS has flags
	@go -C examples run ./benchpeers $(PEERS)

.PHONY: bench-registry
bench-registry: ## measure pushes to and pulls from sparse-registry beside plain distribution, in a minute; REGISTRY has flags
	@go -C examples run ./benchregistry $(REGISTRY)

# Each tool is a module of its own, below testdata/lists/make: its dependencies are nobody else's. Soci's need zlib, and so a C compiler.
# What BuildKit writes, buildx judges.
.PHONY: lists
lists: ## run real tools, as pinned in testdata/lists/make, for the repositories in testdata/lists/tools; TOOLS names some
	@mkdir -p .bin/lists; for tool in $(or $(sort $(TOOLS) $(if $(filter buildkit,$(TOOLS)),buildx)),$(notdir $(patsubst %/go.mod,%,$(wildcard testdata/lists/make/*/go.mod)))); do \
		GOWORK=off CGO_ENABLED=$$(test $$tool = soci && echo 1 || echo 0) go -C testdata/lists/make/$$tool build -o $(CURDIR)/.bin/lists/ tool || exit 1; \
	done; \
	go -C examples run ./lists make $(TOOLS)

# Cosign is a module of its own: it requires packages that the newest versions of what this repository requires do not have.
# INTEROP=fixtures lets it sign testdata/signed anew.
INTEROP ?=

.PHONY: interop
interop: ## let cosign, as pinned in examples/interop/cosign, sign what mirror copies, and judge what it signs
	@mkdir -p .bin/interop; GOWORK=off go -C examples/interop/cosign build -o $(CURDIR)/.bin/interop/ tool
	@go -C examples build -o $(CURDIR)/.bin/interop/ ./mirror
	@go -C examples run ./interop $(INTEROP)

# The suite and plain distribution's registry have a module of their own, as cosign.
.PHONY: conformance
conformance: ## run the suite of the distribution specification, as pinned, against plain distribution and sparse-registry
	@mkdir -p .bin/conformance; GOWORK=off go -C examples/conformance/suite build -o $(CURDIR)/.bin/conformance/ tool
	@go -C examples build -o $(CURDIR)/.bin/conformance/ ./sparse-registry
	@go -C examples run ./conformance

# Not of CI: they install packages, and build them.
.PHONY: findings
findings: ## see whether other people's tools still do what findings says, in some minutes, with a network
	@failed=0; for script in $$(ls findings/*.sh | grep -v /lib.sh); do $$script || failed=1; done; exit $$failed

# The tools that docs/lists.md compares, each in the version that it names.
PEER_TOOLS := github.com/google/go-containerregistry/cmd/crane@v0.22.1 github.com/regclient/regclient/cmd/regctl@v0.11.7 \
	github.com/regclient/regclient/cmd/regsync@v0.11.7 oras.land/oras/cmd/oras@v1.3.6 github.com/docker/buildx/cmd/buildx@v0.38.2

.PHONY: lists-peers
lists-peers: ## install the tools that docs/lists.md compares, run them, and write there what they do; needs a network
	@for tool in $(PEER_TOOLS); do GOBIN=$(CURDIR)/.bin/peers GOFLAGS= CGO_ENABLED=0 go install $$tool || exit 1; done
	@GOWORK=off CGO_ENABLED=0 go -C examples/listpeers/podman build -o $(CURDIR)/.bin/peers/podman-manifest .
	@go -C examples/listpeers run . -tools $(CURDIR)/.bin/peers

# What is released, as of the commit that is checked out unless these say otherwise, and where it goes.
VERSION ?= $(shell git describe --tags --match 'examples/v[0-9]*' --always --dirty 2>/dev/null | sed 's,^examples/,,')
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null)
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
DIST ?= $(CURDIR)/.bin/dist
PLATFORMS ?=
RELEASE = -version '$(VERSION)' -revision '$(REVISION)' -time '$(SOURCE_DATE_EPOCH)' -dir '$(DIST)' -platforms '$(PLATFORMS)'

.PHONY: dist
dist: ## archives of the programs, their SBOMs and SHA256SUMS in DIST (.bin/dist); PLATFORMS and VERSION choose, as docs/releases.md says
	@go -C examples run ./dist build $(RELEASE)

.PHONY: image
image: dist ## OCI layouts with mirror and sparse-registry as images, from these archives, in DIST/image
	@go -C examples run ./dist image $(RELEASE)

# Which of these images is pushed. PUSH has flags, as -insecure.
PROGRAM ?= mirror

.PHONY: push
push: ## push PROGRAM (mirror), as make image has made it, to IMAGE, as registry.example/tools/mirror:1; of PLATFORMS, if that names some
	@go -C examples run ./dist push $(RELEASE) -program '$(PROGRAM)' $(PUSH) '$(IMAGE)'

.PHONY: golden
golden: ## rewrite the golden files; review them with git diff
	@for dir in $(call dirs_with,flag\.Bool\("update"); do go -C $$dir test -update . || exit 1; done
	@git diff --stat -- '*testdata*'
