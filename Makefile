# Two commands do everything on a fresh machine with a Rust toolchain: make demo, make test.

VIGIL_HOME ?= $(or $(XDG_DATA_HOME),$(HOME)/.local/share)/vigil
export VIGIL_HOME
# The set-up's cargo-nextest, where the machine had none.
export PATH := $(PATH):$(VIGIL_HOME)/tools/bin

FUZZ_SECONDS ?= 20
SOAK_SECONDS ?= 600
FUZZ_TARGETS = $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))

.PHONY: help demo demo-faults demo-offline demo-site gpu-check test soak spool-soak build setup reference parity lint docs-check bench fuzz clean servers

help: ## List these targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: build ## Install what is missing, build, run the demo: out/demo.mp4, out/demo.jsonl
	@scripts/demo

demo-faults: build ## The same while its engine is killed and hangs: out/faults.mp4, out/faults.jsonl
	@scripts/demo-faults

demo-site: build ## Four cameras over RTSP; one is unplugged, models are swapped: out/site/
	@scripts/demo-site

demo-offline: build ## Records survive a broker that goes away and comes back: out/offline/
	@scripts/demo-offline

gpu-check: build ## Try it on this machine's GPU; GPU_CHECK holds options, see scripts/gpu-check --help
	@scripts/gpu-check $(GPU_CHECK)

# Tests of other programs build with the same words, so that they find all of it built: the examples are named since Cargo would
# otherwise unify features without the tests' dependencies, and compile the crate again for each change between the two.
test: setup reference servers ## Install what is missing, run every test
	cargo build --lib --bins --examples
	cargo nextest run

soak: setup ## Let watchdogs' chains fail and engines be killed at random for SOAK_SECONDS, ten minutes
	VIGIL_SOAK_SECONDS=$(SOAK_SECONDS) cargo test --test watchdog_soak -- --nocapture

spool-soak: setup ## Kill 200 processes that write a spool, and damage 400 files of spools
	VIGIL_SPOOL_KILLS=200 VIGIL_SPOOL_DAMAGES=400 cargo test --test spool

build: setup ## Build the plugin and the command, optimised: target/release
	cargo build --release --lib --bins

setup: ## Install what is missing: packages, runtime, detector, clip
	@scripts/setup

lint: ## Check format and lints
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

docs-check: setup ## Check the API docs, the pages, their launch lines and links
	@scripts/check-docs

reference: setup ## Install the Python reference that `vigil parity` compares with
	@scripts/parity/run --install

servers: setup ## Fetch the servers that tests talk to: mosquitto, promtool
	@scripts/servers

parity: reference ## Compare with the Python reference on the test data: the figures of docs/ACCURACY.md
	@scripts/parity/run

bench: setup ## Run the benchmarks
	cargo bench

fuzz: ## Fuzz each target for FUZZ_SECONDS (needs a nightly toolchain and cargo-fuzz)
	@for target in $(FUZZ_TARGETS); do cargo +nightly fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS) || exit 1; done

clean: ## Remove what was built and what the demo wrote
	cargo clean
	rm -rf out
