# The two commands of a fresh machine: `make quickstart` and `make check`.
# PYTHON, VENV and TORCH can be given: make check VENV=/tmp/fresh PYTHON=python3.12

VENV ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3)
TORCH ?= torch==2.13.0
TEST_WORKERS ?= 2

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-input
# Tests compare bits, and many small matrices: one thread each is both exact and fastest. Nothing asks the network.
TEST_ENVIRONMENT := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1

.PHONY: help install quickstart check check-slow check-gpu browser benchmark clean
.DELETE_ON_ERROR:

help: ## Say what can be made
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' Makefile

install: $(VENV)/.installed ## Make the environment with posttrain in it

quickstart: $(VENV)/.installed ## Install, then run the whole loop on the built-in task
	@$(BIN)/posttrain quickstart --out runs/quickstart

check: $(VENV)/.installed-dev ## Install with the development extras, then run every check
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/pyright --pythonpath $(BIN)/python
	@$(BIN)/lint-imports --no-logo
	@$(TEST_ENVIRONMENT) $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist worksteal

check-slow: $(VENV)/.installed-dev ## Run the tests that take more than a minute each
	@$(TEST_ENVIRONMENT) $(BIN)/python -m pytest -m 'slow and not gpu'

check-gpu: $(VENV)/.installed-dev ## Run the tests that need a CUDA device
	@$(TEST_ENVIRONMENT) $(BIN)/python -m pytest -m gpu

browser: $(VENV)/.installed-dev ## Install Chromium (as root, on Debian), and run the browser tests of annotation
	@command -v chromium > /dev/null || apt-get install -y --no-install-recommends chromium fonts-dejavu-core
	@$(PIP) -e '.[browser]'
	@$(TEST_ENVIRONMENT) $(BIN)/python -m pytest tests/annotation/browser

benchmark: $(VENV)/.installed-dev ## Measure against other libraries, and write docs/benchmarks.md
	@$(PIP) -e '.[benchmark]'
	@$(BIN)/python -m benchmarks

clean: ## Remove the environment and all caches, but not runs/
	@rm -rf $(VENV) dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "posttrain needs Python 3.11 or newer; give one as PYTHON=...")'
	@echo "Installing into $(VENV); this takes some minutes the first time ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) $(TORCH)
	@$(PIP) -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "Installing the development extras ..."
	@$(PIP) -e '.[dev]'
	@if command -v chromium > /dev/null; then $(PIP) -e '.[browser]'; fi
	@touch $@
