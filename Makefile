# make test needs Go, git and make; it builds or installs the servers that the
# tests run against. make help lists the rest.

# The caller's flags and workspace must not change what is built and tested.
# (Make before 4.4 does not export them to $(shell ...).)
export GOFLAGS := -buildvcs=false
export GOWORK := off

root := $(CURDIR)
cache := $(root)/.cache

# Every folder with a go.mod. e2e/minio and tools hold no code: they pin
# programs that the tests and checks run.
modules := $(patsubst ./%,%,$(patsubst %/go.mod,%,$(sort $(shell find . -name go.mod -not -path './.cache/*' -not -path '*/testdata/*'))))
pins := e2e/minio tools
code := $(filter-out $(pins),$(modules))

# The race detector needs cgo, which go env turns off where there is no C
# compiler.
race := $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)

minio_version := $(shell sed -n 's,.*github.com/minio/minio \(v[^ ]*\).*,\1,p' e2e/minio/go.mod)
minio := $(cache)/minio/$(minio_version)/minio
staticcheck := $(cache)/bin/staticcheck

FUZZTIME ?= 20s
BENCH ?= .

# $(call in_each,<folders>,<command>) runs the command in each folder and ends
# at the first failure.
in_each = @set -e; for m in $(1); do echo "--- $$m: $(strip $(2))"; (cd "$$m" && $(2)); done

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: test
test: test-root test-others ## test every module, against real servers

.PHONY: test-root
test-root: ## test the library alone; needs no server
ifeq ($(race),)
	@echo "no C compiler: the tests run without the race detector"
endif
	go test $(race) ./...

.PHONY: test-others
test-others: minio postgres awscli
	$(call in_each,$(filter-out .,$(code)),go test $(race) -count=1 ./...)

.PHONY: minio
minio: $(minio) ## build MinIO once, into .cache

$(minio): # its path holds its version, so it is never out of date
	@echo "building MinIO, about two minutes..."
	@mkdir -p $(@D)
	cd e2e/minio && go build -trimpath -o $@.new github.com/minio/minio
	@mv $@.new $@

.PHONY: postgres
postgres: ## install PostgreSQL's server where it is missing (Debian, as root)
	@set -e; \
	found() { for d in "$$(pg_config --bindir 2>/dev/null)" /usr/lib/postgresql/*/bin; do [ -x "$$d/initdb" ] && return; done; return 1; }; \
	if found; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing PostgreSQL, about a minute..."; \
		apt-get update -q; \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends postgresql </dev/null; \
	fi; \
	found || { echo "the tests need PostgreSQL's server programs (initdb, postgres): install them (Debian: sudo apt-get install postgresql; Fedora: sudo dnf install postgresql-server; macOS: brew install postgresql) and see that pg_config is in PATH, then run make again" >&2; exit 1; }

# Only two tests need it, and they say so where they are skipped.
.PHONY: awscli
awscli: ## install the AWS CLI where it is missing (Debian, as root)
	@if command -v aws >/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing the AWS CLI, about a minute..."; \
		apt-get update -q && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends awscli </dev/null; \
	fi; \
	command -v aws >/dev/null || echo "no AWS CLI: the tests that run it are skipped (Debian: sudo apt-get install awscli; macOS: brew install awscli)" >&2

.PHONY: check
check: fmt vet staticcheck tidy build ## the static checks of every module

.PHONY: fmt
fmt: ## report files that gofmt would change
	@files=$$(find . -name '*.go' -not -path './.cache/*' -exec gofmt -l {} +) && \
	if [ -n "$$files" ]; then echo "not formatted, run gofmt -w on:"; echo "$$files"; exit 1; fi

# vet's stdversion check also reports what is newer than the module's Go version.
.PHONY: vet
vet: ## go vet in every module
	$(call in_each,$(code),go vet ./...)

.PHONY: staticcheck
staticcheck: $(staticcheck) ## staticcheck in every module
	$(call in_each,$(code),$(staticcheck) ./...)

$(staticcheck): tools/go.mod tools/go.sum
	@mkdir -p $(@D)
	cd tools && go build -o $@ honnef.co/go/tools/cmd/staticcheck

# e2e/minio is left out: tidy would add what MinIO's own tests need, at whatever
# version is the latest that day.
.PHONY: tidy
tidy: ## report go.mod and go.sum files that go mod tidy would change
	$(call in_each,$(filter-out e2e/minio,$(modules)),go mod tidy -diff)

# Vercel builds a function with the Go version that its go.mod names, and the
# AWS SDK needs 1.24: the library and the examples must not ask for more.
.PHONY: build
build: ## build every module at the Go 1.24 language level
	@set -e; for m in $(code); do \
		v=$$(cd "$$m" && go list -m -f '{{.GoVersion}}'); \
		case "$$v" in 1.24 | 1.24.*) ;; *) echo "$$m/go.mod says go $$v, not 1.24"; exit 1 ;; esac; \
	done
	$(call in_each,$(code),go build ./...)

# The fuzzer of Go before 1.27 can end with "context deadline exceeded" and no
# failing input when its time is up (https://go.dev/issue/75804). Only that is
# tried again, once.
.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (20s)
	@set -e; log=$$(mktemp); trap 'rm -f "$$log"' EXIT; n=0; \
	run() { go test -run '^$$' -fuzz "^$$2\$$" -fuzztime $(FUZZTIME) "$$1" >"$$log" 2>&1; }; \
	packages=$$(go list ./...); \
	for pkg in $$packages; do \
		list=$$(go test -list '^Fuzz' "$$pkg"); \
		for target in $$(echo "$$list" | grep '^Fuzz' || true); do \
			echo "--- $$pkg $$target, $(FUZZTIME)"; \
			if ! run "$$pkg" "$$target"; then \
				if grep -q 'context deadline exceeded' "$$log" && ! grep -q 'Failing input' "$$log"; then \
					echo "the fuzzer ran out of time without a finding; once more"; \
					run "$$pkg" "$$target" || { cat "$$log"; exit 1; }; \
				else cat "$$log"; exit 1; fi; \
			fi; \
			tail -n 2 "$$log"; n=$$((n + 1)); \
		done; \
	done; \
	if [ $$n = 0 ]; then echo "found no fuzz target"; exit 1; fi; \
	echo "$$n fuzz targets, no finding"

.PHONY: bench
bench: ## run the benchmarks of the library and of bench/
	$(call in_each,. $(filter bench,$(code)),go test -run '^$$' -bench '$(BENCH)' -benchmem ./...)

.PHONY: demo
demo: ## run the demo on loopback
	@go run ./cmd/vercelaws demo

.PHONY: clean
clean: ## remove what was built into .cache
	rm -rf $(cache)
