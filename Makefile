# Two commands do all set-up on a machine that has Python >= 3.11 and nothing else: `make demo` and `make test`.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test lint types check bench-peers clean

help:            ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "needs Python >= 3.11: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

demo: $(VENV)/.installed   ## install into .venv and replay a trace recorded on a real kernel
	$(BIN)/replay run traces/recorded/6.1.192-s2a-pmem-collision.arrow

test: $(VENV)/.installed-test   ## install the test tools and run all tests
	$(BIN)/python -m pytest -n auto

lint: $(VENV)/.installed-test   ## ruff: lint and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-test   ## mypy --strict
	$(BIN)/mypy

check: lint types test   ## everything that CI runs

$(VENV)/.installed-peers: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[peers]'
	@touch $@

bench-peers: $(VENV)/.installed-peers   ## the engine against C, numba, numpy, polars and DuckDB, about five minutes
	$(BIN)/python -m benchmarks.peers

clean:           ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
