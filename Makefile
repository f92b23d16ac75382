# make demo    environment + `fgembed demo`: the whole job on drawn images
# make test    environment + every check and test
# make proof   the long proofs of the index
# make check   the fast part: lint, types, import rules, unit tests
# VENV=path reuses an environment; the default .venv holds about 6 GB.

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
JOBS ?= 2

.PHONY: demo test check lint fast proof mutations clean

demo: $(VENV)/.train
	rm -rf demo
	$(BIN)/fgembed demo --out demo

test: lint
	$(BIN)/python -m pytest -n $(JOBS) -q

check: lint fast

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fast: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(JOBS) -q -m "not slow"

# Random changes, kills and damaged files at length: an hour on two cores. `test` runs a share.
proof: export FGEMBED_EXAMPLES = 300
proof: export FGEMBED_KILLS = 300
proof: export FGEMBED_DAMAGED = 2000
proof: export FGEMBED_LIBRARY = 10000
proof: export FGEMBED_FUZZED = 2000
proof: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(JOBS) -q -m proof

# Puts known faults into a copy of the source, one at a time; each must fail a test.
mutations: $(VENV)/.dev
	$(BIN)/python -m tests.mutations

$(VENV)/.train: pyproject.toml constraints.txt
	$(call install,train)

$(VENV)/.dev: pyproject.toml constraints.txt
	$(call install,dev)

define install
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[$(1)]'
	touch $@
endef

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache demo
