# Every command that a person or CI runs; each works on a fresh machine with Python 3.11 to 3.13, make and git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# uv installs from hashed lock files only; bytecode is compiled once, not by each process that starts first.
# A terminal sees uv's progress, a log file one line a step.
QUIET := $(shell test -t 2 || echo --quiet)
INSTALL := $(BIN)/uv pip install $(QUIET) --python $(BIN)/python --no-deps --require-hashes --compile-bytecode
# RUN: what the platform itself needs. DEV: tests and linters as well.
RUN := $(VENV)/.run
DEV := $(VENV)/.dev
PEER := .venv-peer
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --no-emit-find-links --custom-compile-command "make lock"
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install lint format test faults fuzz demo bench peer lock clean
.DEFAULT_GOAL := help

help:  ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(VENV)/.uv: requirements-build.lock
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "Assay needs Python 3.11 to 3.13: make PYTHON=python3.13 …")'
	@echo "Creating $(VENV) with uv, which installs everything else"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --require-hashes -r requirements-build.lock
	@touch $@

$(RUN): requirements.lock pyproject.toml $(VENV)/.uv
	@echo "Installing what the platform runs on"
	@$(INSTALL) -r requirements.lock
	@$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(DEV): requirements-dev.lock $(RUN)
	@echo "Installing the packages for tests and linters"
	@$(INSTALL) -r requirements-dev.lock
	@$(BIN)/uv pip check --python $(BIN)/python --quiet
	@touch $@

install: $(DEV)  ## create .venv with the pinned, hashed packages of the platform, its tests and linters

lint: $(DEV)  ## ruff, mypy --strict, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV)  ## let ruff rewrite the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: $(DEV)  ## every test; starts a real Kafka broker and OpenSearch node for those that need them
	$(BIN)/pytest -n 2 --dist worksteal tests/unit
	$(BIN)/pytest -n 2 --dist loadfile tests/faults tests/integration tests/contract  # each of the two starts services of its own

faults: $(DEV)  ## 500 kills in random order instead of 25, a worker that sleeps for a minute instead of 2 s
	ASSAY_KILLS=500 ASSAY_SLEEP=60 $(BIN)/pytest tests/faults --timeout=7200

fuzz: $(DEV)  ## the property tests on 20 times as many examples, drawn anew in each run
	ASSAY_EXAMPLES=300 $(BIN)/pytest -n 2 --hypothesis-profile default --timeout=7200 \
	  tests/unit/transform/test_transform_properties.py tests/unit/transform/test_transform_encodings.py tests/contract/test_format.py

demo: $(RUN)  ## the whole platform on simulated logs; ONCE=1 ends after the proof
	$(BIN)/assay demo $(if $(ONCE),--once)

bench: $(DEV)  ## every benchmark, results in bench/results/latest.json
	mkdir -p bench/results
	$(BIN)/assay bench all --json > bench/results/latest.json

peer: $(PEER)/.ready  ## create .venv-peer with Spark, for `assay bench peer`

$(PEER)/.ready: bench/peer/requirements.lock $(DEV)
	@test -x $(PEER)/bin/python || $(PYTHON) -m venv $(PEER)
	@echo "Installing Spark into $(PEER) (400 MB the first time)"
	@$(BIN)/uv pip install $(QUIET) --python $(PEER)/bin/python --no-deps --require-hashes \
	  --build-constraints bench/peer/requirements.lock -r bench/peer/requirements.lock
	@touch $@

lock:  ## pin and hash the dependencies again (after a change in pyproject.toml; run `make install` before the change)
	$(LOCK) pyproject.toml -o requirements.lock
	$(LOCK) pyproject.toml --extra dev -c requirements.lock -o requirements-dev.lock
	$(LOCK) pyproject.toml --extra image -c requirements-dev.lock -o deploy/compose/requirements.lock
	printf 'editables\nhatchling\nuv\n' | $(LOCK) - -c requirements-dev.lock -o requirements-build.lock
	$(LOCK) bench/peer/requirements.in -o bench/peer/requirements.lock

clean:  ## remove the environment and caches (not the data in .assay)
	rm -rf $(VENV) $(PEER) .mypy_cache .ruff_cache .pytest_cache .hypothesis
