# make for paid video clips. `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_OUT := jobs/out/demo-sandbox
LOWEST := .venv-lowest
FAST := tests/domain tests/manifest tests/providers tests/media tests/storage tests/journal tests/engine tests/run tests/output tests/cluster/test_invariants.py tests/cli/test_help.py tests/cli/test_documents.py
PARALLEL = --numprocesses $$(($$(getconf _NPROCESSORS_ONLN) + 1)) --dist loadgroup # one more than cores: many tests wait
COMPILE := pip compile --quiet --no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock'

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast lowest lock soak doubts faults buckets cluster-demo cluster-faults cluster-storm servers bench bench-quick eta films auto-bench report-bench review-bench screenshot openai-node sdks check format clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "batchvid needs Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

setup: $(VENV)/.ready ## Make .venv and install batchvid with everything its tests need

demo: $(VENV)/.ready ## Run jobs/demo.yaml against the embedded sandbox: real MP4s, nothing paid
	$(BIN)/batchvid run jobs/demo.yaml --sandbox --output $(DEMO_OUT)
	@echo "clips: $(DEMO_OUT)/*.mp4   to look at: $(DEMO_OUT)/report.html   again: make demo (does nothing)   from scratch: rm -r $(DEMO_OUT)"

test: $(VENV)/.ready ## Run the whole test suite
	$(BIN)/python -m pytest $(PARALLEL)

test-fast: $(VENV)/.ready ## Run the tests that need no processes (and what the command line says)
	$(BIN)/python -m pytest $(PARALLEL) $(FAST)

lowest: ## Test with the oldest versions that pyproject.toml allows, in an environment of their own (3 minutes)
	$(PYTHON) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/pip install --quiet --disable-pip-version-check uv
	$(LOWEST)/bin/uv $(COMPILE) --python $(LOWEST)/bin/python --resolution lowest-direct --extra dev \
	  pyproject.toml --output-file $(LOWEST)/requirements.txt
	$(LOWEST)/bin/pip install --quiet --disable-pip-version-check -r $(LOWEST)/requirements.txt --editable .
	$(LOWEST)/bin/python -m pytest -p no:cacheprovider $(PARALLEL) $(FAST)

lock: $(VENV)/.ready ## Write .github/requirements.lock again: the versions of a reproducible install, with their hashes
	$(BIN)/pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv $(COMPILE) --universal --python-version 3.11 --generate-hashes pyproject.toml \
	  --output-file .github/requirements.lock

soak: $(VENV)/.ready ## 200 jobs of all kinds, killed three times and resumed; the sandbox's ledger tells what was paid
	$(BIN)/python tests/soak.py

doubts: $(VENV)/.ready ## A night at a service that loses 1 % of its answers, and the morning after it (1 minute)
	$(BIN)/python -m tests.doubts $(SEEDS)

faults: $(VENV)/.ready ## Let every fault of the list happen to the real program, and print what held
	$(BIN)/python -m tests.faults.bench

buckets: $(VENV)/.ready ## Install moto and SeaweedFS, the object stores of the tests (350 MB), each in an environment of its own
	$(BIN)/python -m tests.storage.buckets

cluster-demo: $(VENV)/.ready ## Start PostgreSQL, SeaweedFS, the sandbox and three workers, kill one half way, and tell (1 minute)
	$(BIN)/python -m tests.cluster.demo

cluster-faults: $(VENV)/.ready ## Let every row of a cluster's failure matrix happen to real processes (15 minutes; as root)
	$(BIN)/python -m tests.cluster.faults $(ROWS)

cluster-storm: $(VENV)/.ready ## Kill and freeze workers a thousand times over many runs, and count what was paid (30 minutes)
	$(BIN)/python -m tests.cluster.storm $(STORM)

servers: $(VENV)/.ready ## Run against real servers: LiteLLM, vLLM-Omni, SGLang, aimock (5 minutes, and 2 GB the first time)
	$(BIN)/python -m tests.servers $(SERVERS)

bench: $(VENV)/.ready ## Measure the speed against other programs, and of several workers, side by side (20 minutes)
	$(BIN)/python -m tests.benchmarks.bench $(BENCH)

bench-quick: $(VENV)/.ready ## The same with fewer jobs and repetitions, to see the direction (2 minutes)
	$(BIN)/python -m tests.benchmarks.bench --quick $(BENCH)

eta: $(VENV)/.ready ## Hold the estimated time of real runs against what they took (2 minutes)
	$(BIN)/python -m tests.benchmarks.eta $(SEEDS)

films: $(VENV)/.ready ## Join twelve clips, no two alike, measure the film, and draw its joints (5 seconds)
	$(BIN)/python -m tests.benchmarks.films

auto-bench: $(VENV)/.ready ## Let `auto` find the hidden limits of accounts, under virtual time, and print what share it got (8 minutes)
	$(BIN)/python -m tests.benchmarks.auto $(SEEDS)

report-bench: $(VENV)/.ready ## Measure how fast the report of 10,000 clips opens in Chromium (1 minute)
	$(BIN)/python -m tests.benchmarks.report

review-bench: $(VENV)/.ready ## Measure how soon 10,000 clips can be judged in Chromium, and how fast a decision is kept (2 minutes)
	$(BIN)/python -m tests.benchmarks.review

screenshot: $(VENV)/.ready ## Make the README's picture of the report again, from the demo, in Chromium
	$(BIN)/python -m tests.report.screenshot .github

openai-node: ## Install OpenAI's SDK for Node, which the tests of the sandbox use where it is there (needs npm and the network)
	npm install --silent --no-save --no-package-lock --no-audit --no-fund --prefix .venv-servers/openai-node openai@6

sdks: $(VENV)/.ready openai-node ## Make the same calls with OpenAI's two SDKs at the sandbox, and print what came of each
	$(BIN)/python -W ignore::DeprecationWarning -m tests.sandbox.sdks

check: $(VENV)/.ready ## Lint, check the format and the types, and validate the example manifests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/batchvid check jobs/*.yaml

format: $(VENV)/.ready ## Format the code and mend what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove the environment, caches and what the demo made
	rm -rf $(VENV) $(LOWEST) .venv-servers .pytest_cache .mypy_cache .ruff_cache .hypothesis dist jobs/out
