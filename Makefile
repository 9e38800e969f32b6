# Two commands do all set-up on a machine that has Python >= 3.11 and nothing else: `make demo` and `make test`.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test lint types check bench bench-compare bench-peers asv-smoke lab-smoke nightly bench-commits clean

help:            ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "needs Python >= 3.11: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
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

lab-smoke: $(VENV)/.installed   ## boot a Debian kernel under qemu, record it, replay the recording (skipped without qemu)
	sh tests/sources/lab/smoke.sh $(BIN)

# One thread, and no other test at the same time. Saved in .benchmarks/, by machine.
PYTEST_BENCH := $(BIN)/python -m pytest tests/benchmarks -q -p no:xdist --benchmark-enable --benchmark-only \
	--benchmark-columns=min,median,stddev,rounds --benchmark-group-by=func --benchmark-sort=name

bench: $(VENV)/.installed-test   ## time every hot function, save the result
	POLARS_MAX_THREADS=1 OMP_NUM_THREADS=1 $(PYTEST_BENCH) --benchmark-autosave

bench-compare: $(VENV)/.installed-test   ## time them again; fails where one is 10 % slower than in the last `make bench`
	@ls .benchmarks/*/*.json >/dev/null 2>&1 || { echo "nothing to compare with: run \`make bench\` on the older commit first"; exit 1; }
	POLARS_MAX_THREADS=1 OMP_NUM_THREADS=1 $(PYTEST_BENCH) --benchmark-compare --benchmark-compare-fail=min:10%

asv-smoke: $(VENV)/.installed-bench   ## run every asv benchmark once, with few rows; fails if one did not run
	$(BIN)/python -m benchmarks.gate smoke

nightly: $(VENV)/.installed-bench   ## measure the last accepted commit (or BASE=) and HEAD; fails if HEAD is worse; HTML in .asv/html
	$(BIN)/python -m benchmarks.gate nightly $(if $(BASE),--base '$(BASE)') $(if $(BENCH),--bench '$(BENCH)')

bench-commits: $(VENV)/.installed-bench   ## measure BASE= and HEAD by turns; fails if HEAD is worse (BENCH=: what matches only)
	$(BIN)/python -m benchmarks.gate commits --base '$(or $(BASE),HEAD~1)' $(if $(BENCH),--bench '$(BENCH)')

clean:           ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
