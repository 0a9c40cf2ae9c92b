# Targets are the project's whole interface for developers; `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
UV_VERSION := $(shell sed -n 's/^uv==\([0-9.]*\).*/\1/p' requirements/dev.txt)
CLUSTER_SIZE ?= 2
# A file of tests is one worker's, from the first test to the last.
PARALLEL := -n 2 --dist loadfile

export VIRTUAL_ENV := $(CURDIR)/$(VENV)

.PHONY: help
help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

# ---- set-up ----------------------------------------------------------------------------------------------------------

.PHONY: init
init: $(VENV)/.ready ## Make .venv with everything that tests and tools need

# The stamp is the lock's: a changed lock brings the environment up to date, an unchanged one costs nothing.
$(VENV)/.ready: requirements/dev.txt pyproject.toml
	@echo "[init] environment from requirements/dev.txt"
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/uv --version 2>/dev/null | grep -q "^uv $(UV_VERSION)" \
	  || $(PY) -m pip install --quiet "uv==$(UV_VERSION)"
	@$(VENV)/bin/uv pip sync --quiet --require-hashes requirements/dev.txt
	@$(VENV)/bin/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: lock
lock: ## Resolve requirements/*.txt anew from pyproject.toml
	requirements/lock.sh

.PHONY: packages
packages: init ## Install the Debian packages of the test bed, where they are missing
	@$(PY) -m tests.cluster install-packages

# ---- the demo --------------------------------------------------------------------------------------------------------

.PHONY: demo
demo: packages ## A real cluster, the operator, one HunyuanDeployment, one question and its answer
	@$(PY) -m tests.demo

.PHONY: cluster-up cluster-down cluster-status
cluster-up: packages ## Start the test bed (CLUSTER_SIZE=0|1|2 nodes)
	@$(PY) -m tests.cluster up --nodes $(CLUSTER_SIZE)
cluster-down: init ## Stop the test bed; caches stay
	@$(PY) -m tests.cluster down
cluster-status: init ## What of the test bed runs
	@$(PY) -m tests.cluster status

# ---- checks ----------------------------------------------------------------------------------------------------------

.PHONY: generate
generate: init ## Write crds/ and the chart's copy from the pydantic models
	@$(PY) -m hunyuan_operator.crdgen

.PHONY: format
format: init ## Format and fix what ruff can fix
	@$(VENV)/bin/ruff format .
	@$(VENV)/bin/ruff check --fix .

.PHONY: verify
verify: init ## Format, lint, types, layers, generated files, fast tests
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(PY) -m hunyuan_operator.crdgen --check
	$(PY) -m pytest $(PARALLEL) -m "not engine and not network and not apiserver and not cluster and not gpu" --durations=5 tests

.PHONY: test
test: packages verify ## Everything that CI runs: verify, then engine, API server and cluster tests
	$(PY) -m pytest $(PARALLEL) -m "engine and not network and not gpu" --durations=15 tests
	$(PY) -m pytest -m "network or apiserver or cluster or gpu" --durations=25 tests
