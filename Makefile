# The targets that a developer needs. `make setup` once, then `make check test`.
PYTHON ?= python3.11
VENV ?= .venv
# Inside an activated environment (and in .ci/run) that one is used, else the project's own.
BIN := $(if $(shell command -v lint-imports),,$(VENV)/bin/)

.PHONY: setup check test coverage test-versions bench bench-quick bench-runtime demo clean

setup:  ## A virtual environment with all that the tests need.
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable ".[dev]"

check:  ## Style, types, order of modules, the compose file.
	$(BIN)ruff check .
	$(BIN)ruff format --check agno_mongo
	$(BIN)mypy
	$(BIN)lint-imports
	@if docker compose version >/dev/null 2>&1; then docker compose config --quiet; else echo "docker compose is not here: docker-compose.yml is checked by tests/test_ground.py only"; fi

test:  ## All tests, notebooks, examples and the code in the documentation.
	$(BIN)python -m pytest -n 4 --dist worksteal

coverage:  ## The same with branch coverage, which takes half as long again.
	$(BIN)coverage erase
	$(BIN)coverage run -m pytest -n 4 --dist worksteal
	$(BIN)coverage combine --quiet
	$(BIN)coverage report --fail-under=93 --skip-covered

test-versions:  ## Store, runs, values and surface, over mongomock, on the oldest and the newest Python, where they are.
	@for version in $${VERSIONS:-3.10 3.13}; do \
	  python=""; \
	  for candidate in python$$version $${PYENV_ROOT:-$$HOME/.pyenv}/versions/$$version.*/bin/python; do \
	    if $$candidate -c "" 2>/dev/null; then python=$$candidate; break; fi; \
	  done; \
	  if [ -z "$$python" ]; then echo "Python $$version is not here: left out"; continue; fi; \
	  echo "--- Python $$version"; \
	  $$python -m venv .venv-$$version && \
	  { uv pip install --quiet --python .venv-$$version/bin/python --editable ".[dev]" 2>/dev/null || \
	    .venv-$$version/bin/pip install --quiet --disable-pip-version-check --editable ".[dev]"; } && \
	  .venv-$$version/bin/python -m pytest -q -n auto -p no:cacheprovider $${FILES:-tests/test_store_contract.py tests/test_runs.py \
	    tests/test_values.py tests/test_surface.py} -k "not pymongo and not motor" || exit 1; \
	done

bench:  ## What agno_mongo costs beside bare PyMongo and its peers, written to docs/benchmarks.md. Some ten minutes on a quiet machine.
	$(BIN)python benchmarks/run.py

bench-quick:  ## The same in a minute, to see that it works; printed.
	$(BIN)python benchmarks/run.py --quick

bench-runtime:  ## What the runtime itself adds to a turn, beside its peers, written to docs/benchmarks-runtime.md. Some minutes on a quiet machine.
	$(BIN)python benchmarks/runtime.py

demo:  ## An agent in two processes; the second remembers.
	$(BIN)agno-mongo demo

clean:
	rm -rf .venv .venv-ci .venv-3.10 .venv-3.13 .mypy_cache .pytest_cache .ruff_cache .coverage* node_modules data tmp
