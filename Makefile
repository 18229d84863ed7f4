# Every command that a person or CI runs; each works on a fresh machine with Python 3.11 to 3.13, make and git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PEER := .venv-peer

.PHONY: help install lint format test faults demo bench peer lock clean
.DEFAULT_GOAL := help

help:  ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "Assay needs Python 3.11 to 3.13: make PYTHON=python3.13 …")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the pinned packages into $(VENV) (first time: a minute or two)"
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@$(BIN)/python -m pip check --disable-pip-version-check > /dev/null
	@touch $@

install: $(READY)  ## create .venv with the pinned, hashed packages

lint: $(READY)  ## ruff, mypy --strict, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)  ## let ruff rewrite the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: $(READY)  ## every test; starts a real Kafka broker and OpenSearch node for those that need them
	$(BIN)/pytest -n 2 --dist worksteal tests/unit
	$(BIN)/pytest -n 2 --dist loadfile tests/faults tests/integration  # each of the two starts services of its own

faults: $(READY)  ## 500 kills in random order instead of 25, a lane that sleeps for a minute instead of 2 s
	ASSAY_KILLS=500 ASSAY_SLEEP=60 $(BIN)/pytest tests/faults --timeout=7200

demo: $(READY)  ## the whole platform on simulated logs; ONCE=1 ends after the proof
	$(BIN)/assay demo $(if $(ONCE),--once)

bench: $(READY)  ## every benchmark, results in bench/results/latest.json
	mkdir -p bench/results
	$(BIN)/assay bench all --json > bench/results/latest.json

peer: $(PEER)/.ready  ## create .venv-peer with Spark, for `assay bench peer`

$(PEER)/.ready: bench/peer/requirements.lock $(READY)
	@test -x $(PEER)/bin/python || $(PYTHON) -m venv $(PEER)
	@echo "installing Spark into $(PEER) (first time: some minutes, 400 MB)"
	@$(BIN)/uv pip install --quiet --python $(PEER)/bin/python --no-deps --require-hashes \
	  --build-constraints bench/peer/requirements.lock -r bench/peer/requirements.lock
	@touch $@

lock:  ## pin and hash the dependencies again (after a change in pyproject.toml; run `make install` before the change)
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" -o requirements.lock --quiet
	$(BIN)/uv pip compile pyproject.toml --extra image --universal --python-version 3.11 --generate-hashes -c requirements.lock \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" -o deploy/compose/requirements.lock --quiet
	printf 'hatchling\nuv\n' | $(BIN)/uv pip compile - --universal --python-version 3.11 --generate-hashes -c requirements.lock \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" -o deploy/compose/build.lock --quiet
	$(BIN)/uv pip compile bench/peer/requirements.in --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" -o bench/peer/requirements.lock --quiet

clean:  ## remove the environment and caches (not the data in .assay)
	rm -rf $(VENV) $(PEER) .mypy_cache .ruff_cache .pytest_cache .hypothesis
