# RecInt. `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := build
export RECINT_CUDA RECINT_METAL RECINT_MARCH LLAMA_CPP_DIR

NATIVE := build/native
BUILT := $(NATIVE)/built
# What build/native has beside the CPU it keeps until another choice is named, the CPU alone by RECINT_CUDA= or RECINT_METAL=.
RECINT_CUDA ?= $(patsubst cuda=%,%,$(filter cuda=%,$(file <$(NATIVE)/options)))
RECINT_METAL ?= $(patsubst metal=%,%,$(filter metal=%,$(file <$(NATIVE)/options)))
DEMO := demo
MINUTES := 11.5
# make demo takes at most so many minutes, building included.
WITHIN := 22
BEGAN := $(shell date +%s)
SOAK := 30s
RUN :=
# An interpreter that has the packages of bench/peers.
PYTHON ?= bench/venv/bin/python
# What results are called after: the GPU that computes, or the CPU.
GPU := $(if $(RECINT_CUDA),$(shell nvidia-smi --query-gpu=name --format=csv,noheader | head -n 1 | tr 'A-Z ' 'a-z-'))
MACHINE := $(or $(GPU),$(shell uname -m)-$(shell getconf _NPROCESSORS_ONLN)cpu)
RECINT := bin/recint
# Go does not see that a C header outside its package has changed; this makes it see.
export CGO_CPPFLAGS := -DRECINT_HEADER=$(shell git hash-object native/include/recint.h 2>/dev/null)
GO_FILES := $(shell git ls-files '*.go')
# What a program says it was built from: the commit, and "+" where files differ from it.
COMMIT := $(shell git describe --always --abbrev=12 --dirty=+ --exclude '*' 2>/dev/null)
LINKED := -X github.com/recinterpreter/recinterpreter/bench.commit=$(COMMIT)
NATIVE_FILES := $(shell git ls-files native)

.PHONY: help build native test test-native test-asan test-kernels test-arm64 test-go test-third-party test-peers cuda cuda-compile test-gpu test-notebook llama-tools test-judge test-serve test-cases test-docs test-mpi bulk test-bulk test-manifests soak \
	release test-release vuln check format demo bench bench-align bench-recommenders bench-page clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20
	@echo
	@echo 'RECINT_METAL=1 builds that backend as well, RECINT_CUDA=1 CUDA (make cuda); LLAMA_CPP_DIR=DIR takes llama.cpp from there;'
	@echo 'RECINT_MARCH=LEVEL builds it for that x86-64 level, as -march names it (x86-64-v3: without AVX-512), not for this processor.'

build: $(RECINT) ## build bin/recint (the default)

build/commit: FORCE
	@mkdir -p build; echo '$(COMMIT)' | cmp -s - $@ || echo '$(COMMIT)' >$@

FORCE:

$(RECINT): $(BUILT) $(GO_FILES) go.mod go.sum build/commit
	go build -ldflags '$(LINKED)' -o $@ ./cli

native: $(BUILT) ## build the native core, and llama.cpp where that has not been done

# Which llama.cpp build/native has; another one builds it again.
OPTIONS = march=$(or $(RECINT_MARCH),native) cuda=$(RECINT_CUDA) metal=$(RECINT_METAL)
$(NATIVE)/options: FORCE
	@mkdir -p $(NATIVE); echo '$(OPTIONS)' | cmp -s - $@ || echo '$(OPTIONS)' >$@

$(BUILT): $(NATIVE)/options $(NATIVE_FILES) third_party/llama.cpp.pin third_party/build.sh third_party/CMakeLists.txt
	@bash native/build.sh $(NATIVE)
	@touch $@

test: test-third-party test-peers test-native test-go test-manifests ## run all tests

test-third-party:
	bash third_party/fetch_test.sh

test-peers:
	python3 -m unittest discover -q bench/peers 'test_*.py'

test-native: $(BUILT)
	ctest --test-dir $(NATIVE) --output-on-failure

test-go: $(RECINT)
	go test -count=1 ./...

test-asan: ## run the native tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@bash native/build.sh build/asan -DRECINT_SANITIZE=ON
	ctest --test-dir build/asan --output-on-failure

test-kernels: $(RECINT) ## run the tests of what computes with each kernel set that make test does not run
	@bash .ci/test-kernels $(RECINT) $(NATIVE)

test-arm64: ## compile the kernels for 64-bit Arm and run their tests under emulation
	@bash native/test_arm64.sh build

cuda: ## build bin/recint with the CUDA backend, for this machine's GPU
	@$(MAKE) --no-print-directory RECINT_CUDA=$(or $(RECINT_CUDA),1) build

cuda-compile: ## prove that the CUDA backend compiles and links, on a machine without a GPU and without CUDA
	@bash native/cuda_compile.sh build

test-gpu: $(RECINT) ## run the tests that compute on this machine's GPU; without one they skip, and say so
	@bash .ci/test-gpu

llama-tools: ## build llama.cpp's own server and benchmarks, links in bin/
	@bash third_party/tools.sh build/third_party bin

test-judge: $(RECINT) llama-tools ## run the judge against llama.cpp's server with SmolLM2
	RECINT_MODEL=$${RECINT_MODEL:-$$($(RECINT) models fetch smollm2-135m | tail -n 1)} go test -count=1 -v -run llamaServer ./core/judge/

test-serve: $(RECINT) ## run the tests of serving alone, with the race detector
	go test -race -count=1 ./core/service ./core/serve
	go test -count=1 ./core/explorer
	go test -count=1 -run Serve ./cli/app

# The folder with a case for each input that a public report describes. RECINT_REFERENCE names the folder
# of all reference cases, or the one called reference in it.
CASES := $(if $(RECINT_REFERENCE),$(RECINT_REFERENCE:/reference=)/cases)
test-cases: $(RECINT) ## run recint on inputs as they exist in the wild, a line for each: CASES=FOLDER
ifeq ($(CASES),)
	@echo 'test-cases: SKIPPED: name the cases with CASES=FOLDER, or their parent with RECINT_REFERENCE=FOLDER'
else
	go run ./cli/cases -recint $(RECINT) $(CASES)
endif

test-docs: $(BUILT) ## run the commands in the documentation on tiny data, and check its links
	go test -count=1 -run TestDocs ./cli/app

test-mpi: $(RECINT) ## train on several processes that MPI connects, and kill one; where MPI is missing, say so
	go test -count=1 -v -run 'TestMPI' ./cli/app
	go test -count=1 ./core/ranks
	go test -count=1 -run 'onRanks|onOtherRanks|onRanksThatDiffer|tooManyRanks' ./core/align ./core/recommender ./core/probe

bulk: bin/recint-bulk ## build recint-bulk, the program that recint bulk starts: an Apache Beam pipeline (takes minutes and 2 GiB of memory)

bin/recint-bulk: $(wildcard beam/*)
	cd beam && CGO_ENABLED=0 go build -ldflags '-s -w' -o ../$@ .

test-bulk: $(RECINT) bulk ## answer many rows with recint bulk, on several workers some of which are killed; on Flink where RECINT_FLINK names a job server
	RECINT_BULK=$(abspath bin/recint-bulk) go test -count=1 -v -run TestBulk ./cli/app

test-manifests: ## decode the files for Kubernetes and Slurm strictly, and run their commands with a recint that prints them
	cd packaging/validate && go test -count=1 ./...

soak: $(BUILT) ## a mixed load on a server: SOAK=10m for longer, RUN=FOLDER for a run of yours
	RECINT_SOAK=$(SOAK) RECINT_SOAK_RUN=$(abspath $(RUN)) go test -count=1 -timeout 0 -v -run TestSoak ./core/serve

release: ## an archive of recint for other Linux machines, in build/release (docs/packaging.md)
	@bash packaging/release.sh build/release

test-notebook: $(RECINT) build/notebook/installed ## execute the notebook of docs/examples in a virtual environment of its own: RECINT_MINUTES=1 trains its adapter that long
	RECINT=$(abspath $(RECINT)) RECINT_MINUTES=$${RECINT_MINUTES:-0.5} build/notebook/bin/python docs/examples/execute.py docs/examples/any_recommender.ipynb build/notebook/executed.ipynb

build/notebook/installed: docs/examples/requirements.txt
	rm -rf build/notebook && python3 -m venv build/notebook
	build/notebook/bin/python -m pip install -q -r $< nbclient ipykernel
	@touch $@

test-release: ## make that archive and test it: unpacked elsewhere, on other processors, made again
	@archive=$$(bash packaging/release.sh build/release) && bash packaging/release_test.sh "$$archive"

vuln: $(BUILT) ## look for what is known to be vulnerable in the modules and the Go of releases (make check does it, too)
	@bash packaging/vuln.sh

check: $(BUILT) ## run formatters and linters
	@bash .ci/check

format: ## format all code
	gofmt -w $(GO_FILES)
	clang-format -i $(shell git ls-files 'native/*.h' 'native/*.cpp' 'native/*.c')

demo: build ## the main job on real data: fetch, train SASRec, train the adapter, evaluate, interpret
	@bash bench/demo.sh $(RECINT) $(DEMO) $(MINUTES) $(WITHIN) $(BEGAN)

bench: build llama-tools ## measure everything beside all peers: RUN=FOLDER for latency, too (bench/README.md)
	@PYTHON=$(PYTHON) $(RECINT) bench all --peer all --rounds 4 $(if $(RUN),--run $(RUN)) --out bench/results/bench-$(MACHINE).json

bench-align: build ## adapter training beside PyTorch, tuned and in the authors' way
	@PYTHON=$(PYTHON) $(RECINT) bench train --peer pytorch

bench-recommenders: build ## how well recommenders rank that recint and PyTorch have trained
	@PYTHON=$(PYTHON) bash bench/recommenders.sh

bench-page: build ## write docs/benchmarks.md from bench/results
	$(RECINT) bench page --out docs/benchmarks.md bench/results/bench-*.json

bench bench-align bench-recommenders: $(filter bench/venv/%,$(PYTHON))

bench/venv/bin/python: bench/peers/requirements.txt
	python3 -m venv bench/venv
	bench/venv/bin/python -m pip install -q -r $<
	@touch $@

clean: ## remove what was built (not llama.cpp)
	rm -rf bin $(NATIVE) build/asan
