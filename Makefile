# Every target sets up what it needs: on a fresh machine `make test` alone is enough.
# Needs: make, Python >= 3.11 with venv, and PyPI.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
ARGS ?=

# The tests start hundreds of processes; each would compile the whole engine again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup run demo test test-all lint types golden reference bench hostile fuzz frames folders suites crash flips powercut soak attack wheel clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## Make .venv and install everything into it (again only if the dependencies changed)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "RedDB needs Python 3.11 or later; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." >&2; \
		echo "Name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	test -x $(VENV)/bin/pip || $(PYTHON) -m venv --clear $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	@touch $@

run: $(READY) ## Start a server in the foreground on ./data (ARGS='--port 6000' adds options)
	$(VENV)/bin/reddb serve --data ./data $(ARGS)

demo: $(READY) ## Insert the bundled sample and search it
	$(PY) -m reddb.client.demo $(ARGS)

test: $(READY) ## Run the tests that take a few minutes (ARGS='-k wal' adds options)
	$(PY) -m pytest -n auto --dist loadfile --no-loadscope-reorder -m 'not slow' $(ARGS)

test-all: $(READY) ## Run all tests, those with processes, kills and proofs too
	$(PY) -m pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(READY) ## Check style with ruff
	$(PY) -m ruff check .

# mypy does not follow package-dir, so it is shown the installed layout as links. Rejected: checking an installed copy
# (errors would name files nobody edits), and __path__ tricks (they would ship).
types: $(READY) ## Check types with mypy --strict
	@rm -rf build/typing && mkdir -p build/typing/reddb
	@ln -s $(CURDIR)/reddb/* $(CURDIR)/grammar $(CURDIR)/server $(CURDIR)/client build/typing/reddb/
	@ln -s $(CURDIR)/tests/client/typed_calls.py build/typing/
	$(PY) -m mypy

golden: $(READY) ## Write the answers of today into the tests that hold exact words, to be read
	$(PY) -m tests.golden.conversation

reference: $(READY) ## Write REFERENCE.md anew
	$(PY) -m tests.reference

bench: $(READY) ## Run the benchmarks (with REDDB_DATASETS=folder also on large data)
	$(PY) -m tests.bench.run $(ARGS)

hostile: $(READY) ## Measure recall on sets that are hard to search, 15 minutes (ARGS='--way graph --metric ip')
	$(PY) -m tests.recall.matrix $(ARGS)

fuzz: $(READY) ## Give 200,000 inputs of any kind to every entry (ARGS='--seed 7')
	$(PY) -m tests.fuzz.run $(ARGS)

frames: $(READY) ## Send a million frames of any kind to a server (ARGS='--frames 20000')
	$(PY) -m tests.fuzz.frames $(ARGS)

folders: $(READY) ## Give 100,000 folders and backups of strangers to every command (ARGS='--cases 2000')
	$(PY) -m tests.fuzz.folders $(ARGS)

suites: $(READY) ## Ask the bundled sample of SQL queries (ARGS=folder: the *.test files of sqllogictest there)
	$(PY) -m tests.suites.sqllogic $(ARGS)

crash: $(READY) ## Kill a server at 2,000 system calls, and compare (ARGS='--points 100')
	$(PY) -m tests.crash.sweep $(ARGS)

flips: $(READY) ## Flip every byte of every kind of file, and read everything (ARGS='100' flips at 100 places of each)
	$(PY) -m tests.crash.flips $(ARGS)

powercut: $(READY) ## Run the engine on a disk that loses power, 10,000 times (ARGS='--seed 7' replays one)
	$(PY) -m tests.crash.powercut --runs 10000 $(ARGS)

soak: $(READY) ## Load a server for 10 minutes while its processes are killed (ARGS='--minutes 60')
	$(PY) -m tests.crash.soak $(ARGS)

attack: $(READY) ## Send the costliest requests within the limits, and print what they cost others
	$(PY) -m tests.attack.memory
	$(PY) -m tests.attack.deaths
	$(PY) -m tests.attack.steps

wheel: $(READY) ## Build the source archive and the wheel into dist/
	rm -rf dist
	$(PY) -m build

clean: ## Remove what the other targets made; ./data stays
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find reddb grammar server client tests -name __pycache__ -prune -exec rm -rf {} +
