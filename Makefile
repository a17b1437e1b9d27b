# make test needs Go, git and make; it builds or installs the servers that the
# tests run against. make help lists the rest.

# The caller's flags and workspace must not change what is built and tested.
# (Make before 4.4 does not export them to $(shell ...).)
export GOFLAGS := -buildvcs=false
export GOWORK := off

root := $(CURDIR)
cache := $(root)/.cache

# git ignores the folder by a file within it.
$(shell mkdir -p "$(cache)" && echo '*' >"$(cache)/.gitignore")

# Every folder with a go.mod. e2e/minio and .ci/tools pin programs that the tests
# and checks run, and may ask for a newer Go than the rest.
modules := $(patsubst ./%,%,$(patsubst %/go.mod,%,$(sort $(shell find . -name go.mod -not -path './.cache/*' -not -path '*/testdata/*'))))
pins := e2e/minio .ci/tools
code := $(filter-out $(pins),$(modules))

# The race detector needs cgo, which go env turns off where there is no C
# compiler.
race := $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)

minio_version := $(shell sed -n 's,.*github.com/minio/minio \(v[^ ]*\).*,\1,p' e2e/minio/go.mod)
minio := $(cache)/minio/$(minio_version)/minio

vercel := $(cache)/npm/node_modules/.package-lock.json
# Programs that .ci/tools pins or holds.
staticcheck := $(cache)/bin/staticcheck
actionlint := $(cache)/bin/actionlint
apidiff := $(cache)/bin/apidiff
govulncheck := $(cache)/bin/govulncheck
api := $(cache)/bin/api

FUZZTIME ?= 10s
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

# bench counts allocations, which the race detector would change. The other modules
# build and run much, and on a busy machine take longer than go test's ten minutes.
.PHONY: test-others
test-others: minio postgres awscli vercel test-model
	$(call in_each,bench,go test -count=1 ./...)
	$(call in_each,$(filter-out . bench e2e/model,$(code)),go test $(race) -count=1 -timeout 40m ./...)

.PHONY: test-model
test-model: ## play random histories against what is promised (e2e/model)
	cd e2e/model && go test -count=1 .
ifneq ($(race),)
	cd e2e/model && go test -race -count=1 .
endif

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

# npm install, and not npm ci: npm ci refuses a lock file that lacks a program
# for a system on which it was not made.
.PHONY: vercel
vercel: ## install the Vercel CLI and its Go builder into .cache, where npm is there
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory $(vercel); \
	else echo "no npm: the tests that build the examples as Vercel does are skipped (Debian: sudo apt-get install npm)" >&2; fi

$(vercel): e2e/npm/package.json e2e/npm/package-lock.json
	@echo "installing the Vercel CLI, about half a minute..."
	@mkdir -p $(cache)/npm
	@cp e2e/npm/package.json e2e/npm/package-lock.json $(cache)/npm/
	npm install --prefix $(cache)/npm --ignore-scripts --no-audit --no-fund
	@touch $@

.PHONY: check
check: fmt vet staticcheck tidy build cross api workflows ## the static checks of every module

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

$(staticcheck) $(actionlint) $(apidiff) $(govulncheck) $(api): .ci/tools/go.mod .ci/tools/go.sum .ci/tools/api/main.go
	@mkdir -p $(@D)
	cd .ci/tools && go build -o $@ $(program)

$(staticcheck): program := honnef.co/go/tools/cmd/staticcheck
$(actionlint): program := github.com/rhysd/actionlint/cmd/actionlint
$(apidiff): program := golang.org/x/exp/cmd/apidiff
$(govulncheck): program := golang.org/x/vuln/cmd/govulncheck
$(api): program := ./api

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
	$(call in_each,$(code),go build -o /dev/null ./...)

# Vet compiles the tests too. Nothing of it runs: what runs on Windows and macOS
# is tested by .github/workflows/go.yml.
.PHONY: cross
cross: ## build and vet every module for the other systems
	@set -e; for target in windows/amd64 darwin/arm64 linux/arm64; do for m in $(code); do \
		echo "--- $$m for $$target"; \
		(cd "$$m" && export CGO_ENABLED=0 GOOS=$${target%/*} GOARCH=$${target#*/} && go build -o /dev/null ./... && go vet ./...); \
	done; done

# .ci/tools/api.txt holds the public names as they are accepted, so that a change of one
# is seen in review.
.PHONY: api
api: $(api) ## report public names that are not accepted
	@new=$$(mktemp) && trap 'rm -f "$$new"' EXIT && $(api) ./... >"$$new" && \
	if ! diff -u .ci/tools/api.txt "$$new"; then echo "the public names are not those of .ci/tools/api.txt: if that is meant, run make api-accept and say so in CHANGELOG.md" >&2; exit 1; fi

.PHONY: api-accept
api-accept: $(api) ## accept the public names
	@$(api) ./... >.ci/tools/api.txt.new && mv .ci/tools/api.txt.new .ci/tools/api.txt && git diff --stat -- .ci/tools/api.txt

# What a release may be called follows from this: see docs/releasing.md.
.PHONY: apidiff
apidiff: $(apidiff) ## say whether the API is compatible with that of BASE, a tag
	@test -n "$(BASE)" || { echo "say what to compare with: make apidiff BASE=v1.2.3" >&2; exit 1; }
	@set -e; old=$$(mktemp -d); trap 'git worktree remove --force "$$old/tree"; rm -rf "$$old"' EXIT; \
	git worktree add -q --detach "$$old/tree" "$(BASE)"; \
	module=$$(go list -m); (cd "$$old/tree" && $(apidiff) -m -w "$$old/old" "$$module"); $(apidiff) -m -w "$$old/new" "$$module"; \
	$(apidiff) -m "$$old/old" "$$old/new"

.PHONY: workflows
workflows: $(actionlint) ## check .github
	$(actionlint)
	@for m in $(modules); do \
		grep -q -F -- "- /$$(test "$$m" = . || echo "$$m")" .github/dependabot.yml || { echo ".github/dependabot.yml does not name $$m" >&2; exit 1; }; \
	done
	@! grep -n -E 'uses: [^@]*@[^ ]*' -r .github/workflows | grep -v -E '@[0-9a-f]{40} # v' || { echo "pin actions by hash, with the version behind it" >&2; exit 1; }

# It asks the Go vulnerability database, so it is not part of .ci/run.
.PHONY: vulncheck
vulncheck: $(govulncheck) ## look for known vulnerabilities; needs the network
	$(call in_each,$(code),$(govulncheck) ./...)

# The newest that need no newer Go than ours, which is what a release takes.
# `make newest HOLD=` takes the newest of all, as who has a newer Go may. The
# root comes first, because the others build on its go.mod.
HOLD ?= go@1.24.0

.PHONY: newest
# Left alone: the library, which is that of the checkout, and go-bridge, which has
# no versions.
newest: left = $(shell go list -m),github.com/vercel/go-bridge
newest: ## take the newest dependencies that Go 1.24 builds, in every go.mod
	$(call in_each,. $(filter-out .,$(code)),"$(root)/.ci/newest" "$(left)" $(HOLD))

# The number of rounds, and the folders of the modules.
ROUNDS ?= 20
STRESS ?= $(code)

.PHONY: stress
stress: minio postgres awscli vercel ## test every module ROUNDS (20) times on a busy machine
	.ci/stress $(ROUNDS) $(STRESS)

# The fuzzer of Go before 1.27 can end with "context deadline exceeded" and no
# failing input when its time is up (https://go.dev/issue/75804). Only that is
# tried again, once. Minimizing an input that is new, but no finding, ends after a
# second. By default it may take a minute, and the target tries nothing else then.
.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (10s)
	@set -e; log=$$(mktemp); trap 'rm -f "$$log"' EXIT; n=0; \
	run() { go test -run '^$$' -fuzz "^$$2\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s "$$1" >"$$log" 2>&1; }; \
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

# The other library that the figures measure, from npm.
js_peer := @vercel/oidc-aws-credentials-provider@3.3.9

.PHONY: figures
figures: ## measure and draw docs/figures; needs Node and npm, takes two minutes
	@mkdir -p $(cache)/figures docs/figures
	npm install --no-audit --no-fund --ignore-scripts --prefix $(cache)/figures $(js_peer)
	cd bench && go test -count=1 -timeout 9m ./figures -args -write $(root)/docs/figures -peers $(cache)/figures

# The path under which the library is published is not settled.
.PHONY: rename
rename: ## give the module the path MODULE, in every file
	@test -n "$(MODULE)" || { echo "say the path: make rename MODULE=example.org/team/name" >&2; exit 2; }
	.ci/rename "$(MODULE)"

.PHONY: demo
demo: ## run the demo on loopback
	@go run ./cmd/vercelaws demo

.PHONY: clean
clean: ## remove what was built into .cache
	rm -rf $(cache)
