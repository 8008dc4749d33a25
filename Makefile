PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PIP    := $(BIN)/python -m pip --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help install demo up test lint format lock bench faults fuzz cluster-test docs-test docs clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## make the virtual environment in .venv, with everything in it

$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "hivewire needs Python 3.11 or newer, and $(PYTHON) is not: name another, e.g. make install PYTHON=python3.12" >&2; exit 1; }
	@echo "installing into $(VENV), which takes a minute ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --require-hashes --requirement requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

demo: install ## a fleet of agents analyses a source tree (DEMO_DIR=...) and checks its own report
	@$(BIN)/python -m examples.codebase

up: install ## run everything on this machine until Ctrl-C
	@$(BIN)/hivewire up

test: install ## run the unit, integration and end-to-end tests
	@$(BIN)/pytest --quiet --numprocesses auto --maxprocesses 5 --dist loadfile --no-loadscope-reorder

lint: install ## check style, types and the layers
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/hadolint deploy/Dockerfile
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec docker-compose.yml

format: install ## rewrite the code in the project's style
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/ruff format --quiet .

LOCKED := --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-annotate

lock: ## renew the locked versions of everything, and of what the image needs (needs uv)
	@echo hatchling | uv pip compile $(LOCKED) --upgrade pyproject.toml --extra dev - --output-file requirements.lock
	@echo hatchling | uv pip compile $(LOCKED) --constraint requirements.lock pyproject.toml --extra service --extra tracing - \
		--output-file deploy/requirements.lock

bench: install ## measure latency, throughput, recovery and costs on this machine
	@$(BIN)/hivewire bench

faults: install ## break servers, services, links and disks under load, and count what is lost
	@$(BIN)/pytest --quiet tests/faults

FUZZ_SECONDS ?= 180

fuzz: install ## fuzz all that parses (FUZZ_SECONDS=180), then send the HTTP API thousands of made-up requests
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(PIP) install --only-binary :all: 'atheris==3.0.0' || \
		echo "no wheel of atheris for this platform"
	@FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/python tests/fuzz/run.py
	@HIVEWIRE_FUZZ_EXAMPLES=50 $(BIN)/pytest --quiet --timeout 3600 tests/integration/test_http_refusals.py -k described

cluster-test: install ## kill nodes and services of a cluster under load, and show who took over when
	@$(BIN)/pytest --quiet --capture=no tests/cluster

docs-test: install ## do what the pages of the documentation say, each on a hive
	@$(BIN)/pytest --quiet tests/docs

docs: install ## write what of the docs follows from the code: diagrams, references, dashboards
	@$(BIN)/python docs/generate.py
	@$(BIN)/python docs/metrics_reference.py
	@$(BIN)/python docs/cli_reference.py
	@$(BIN)/python docs/http_reference.py
	@$(BIN)/python docs/settings_reference.py
	@$(BIN)/python deploy/grafana/dashboards.py

clean: ## remove the virtual environment and every cache
	@rm -rf $(VENV) dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
