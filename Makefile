# Everything a person or a CI machine runs. Needed: make, and Python 3.11, 3.12 or 3.13 with its venv module.
# `make PYTHON=/path/to/python3.12 ...` chooses the interpreter of a new environment.

VENV := .venv
BIN := $(VENV)/bin
LOCK_VENV := .venv-lock
LOCK_PYTHONS := 3.11 3.12 3.13

.DEFAULT_GOAL := help
.PHONY: help venv lint test test-cluster demo benchmark-import lock clean

help: ## Show this list.
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 25

venv: ## Make .venv with the locked versions; does nothing when it is up to date.
	@python=$$(sh scripts/find_python.sh "$(PYTHON)" "$(VENV)") && "$$python" scripts/make_venv.py "$(VENV)"

lint: venv ## Check style, format and types.
	@echo "== ruff: style" && $(BIN)/ruff check .
	@echo "== ruff: format" && $(BIN)/ruff format --check .
	@echo "== mypy: types" && $(BIN)/mypy

test: lint ## Check style, format and types, then run the whole suite on all cores.
	@echo "== pytest: the whole suite" && $(BIN)/pytest -n auto

test-cluster: venv ## Run a whole Airflow with Celery, kill its parts, and count what reached AchieveIt (Redis, PostgreSQL).
	@echo "== pytest: a whole cluster" && $(BIN)/pytest -n 0 -m cluster tests/cluster

demo: venv ## Both roads on this machine: a KPI table to a local AchieveIt, and its plan into SQLite.
	@$(BIN)/python scripts/demo.py

benchmark-import: venv ## Print what importing the provider's operators costs a DAG file.
	@$(BIN)/python benchmarks/import_time.py

lock: ## Refresh constraints/: newest versions that fit pyproject.toml and constraints/lock.in.
	@test -x $(LOCK_VENV)/bin/uv || { \
	    python=$$(sh scripts/find_python.sh "$(PYTHON)" "$(VENV)") && "$$python" -m venv $(LOCK_VENV) \
	    && $(LOCK_VENV)/bin/python -m pip install --quiet uv; }
	@for version in $(LOCK_PYTHONS); do \
	    echo "== constraints/py$$version.txt"; \
	    $(LOCK_VENV)/bin/uv pip compile pyproject.toml constraints/lock.in --all-extras --group test --group lint \
	        --python-version $$version --upgrade --no-header --no-annotate --strip-extras --quiet \
	        --output-file constraints/py$$version.txt || exit 1; \
	done

clean: ## Remove what the other targets made: environments, caches, the demo's files.
	rm -rf $(VENV) $(LOCK_VENV) .demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
