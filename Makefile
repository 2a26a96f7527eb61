# Everything a person or a CI machine runs. Needed: make, and Python 3.11, 3.12 or 3.13 with its venv module.
# `make PYTHON=/path/to/python3.12 ...` chooses the interpreter of a new environment.

VENV := .venv
BIN := $(VENV)/bin
UV_VENV := .venv-uv
LOCK_PYTHONS := 3.11 3.12 3.13
DIALECTS_VENV := .venv-dialects
PEERS_VENV := .venv-peers
PACKAGE_VENV := .venv-package
# Each supported version of Airflow on each Python is a cell of the matrix, with an environment of its own.
AIRFLOWS := $(patsubst constraints/airflow-%.in,%,$(wildcard constraints/airflow-*.in))
MATRIX = python=$$(sh scripts/find_python.sh "$(PYTHON)" "$(VENV)") \
    && TEST_DEPTH=short "$$python" scripts/test_matrix.py --uv $(UV_VENV)/bin/uv

# Images of Python for Docker are often told to keep no bytecode; each of the suite's many processes of Airflow would then
# compile all of it again, for seconds.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help venv lint test test-browser test-cluster cluster test-dialects test-matrix test-versions package test-package audit docs pictures demo benchmark-import benchmark-export benchmark-submit benchmark-triggerer lock clean

help: ## Show this list.
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 25

venv: ## Make .venv with the locked versions; does nothing when it is up to date.
	@python=$$(sh scripts/find_python.sh "$(PYTHON)" "$(VENV)") && "$$python" scripts/make_venv.py "$(VENV)"

lint: venv ## Check style, format and types.
	@echo "== ruff: style" && $(BIN)/ruff check .
	@echo "== ruff: format" && $(BIN)/ruff format --check .
	@echo "== mypy: types" && $(BIN)/mypy

test: lint ## Check style, format and types, then run the whole suite on all cores.
	@echo "== pytest: the whole suite" && $(BIN)/pytest -n auto --dist worksteal

test-cluster: venv ## Run a whole Airflow with Celery, kill its parts, load it, and count what reached AchieveIt (Redis, PostgreSQL).
	@echo "== pytest: a whole cluster" && $(BIN)/pytest -n 0 -m cluster tests/cluster

cluster: venv ## Start the same Airflow beside a local AchieveIt, tell where they are, and leave them until Ctrl-C.
	@$(BIN)/python -m tests.cluster

test-browser: venv ## Look at Airflow's pages with a real browser (Chromium); screenshots go to build/screenshots.
	@echo "== pytest: in a browser" && $(BIN)/pytest -n 0 -m browser tests/browser

test-dialects: venv $(UV_VENV)/bin/uv ## Compile for Snowflake and BigQuery, whose packages need an older SQLAlchemy, in an environment of its own.
	@test -x $(DIALECTS_VENV)/bin/pytest || { echo "== environment: $(DIALECTS_VENV)" \
	    && $(BIN)/python -m venv $(DIALECTS_VENV) \
	    && $(UV_VENV)/bin/uv pip install --quiet --python $(DIALECTS_VENV)/bin/python \
	        --requirement constraints/dialects.txt; }
	@echo "== pytest: all dialects" && PYTHONPATH=. ALL_DIALECTS=true $(DIALECTS_VENV)/bin/pytest tests/warehouse/test_dialects.py

test-matrix: $(UV_VENV)/bin/uv ## Run the suite on every supported Airflow and Python, or in CELLS="2.11.2-py3.11 3.3.2-py3.13".
	@$(MATRIX) $(CELLS)

test-versions: $(UV_VENV)/bin/uv ## Only let every supported Airflow load the provider, on every Python or in CELLS.
	@$(MATRIX) --load-only $(CELLS)

docs: venv ## Build the site of the documentation into build/site; a broken link or reference is an error.
	@echo "== sphinx: the site" && $(BIN)/sphinx-build -c docs -d build/doctrees -E -W -n --keep-going -q . build/site \
	    && echo "build/site/index.html"

pictures: test-browser ## Take the screenshots of the documentation anew, from what the browser tests have seen.
	cp build/screenshots/connection-form.png docs/pictures/connection-form.png
	cp build/screenshots/sync_history.png docs/pictures/sync-history.png

demo: venv ## Both roads on this machine: a KPI table to a local AchieveIt, and its plan into SQLite.
	@$(BIN)/python scripts/demo.py

benchmark-import: venv ## Print what importing the provider's operators costs a DAG file.
	@$(BIN)/python benchmarks/import_time.py

benchmark-export: venv ## Time the export into PostgreSQL beside its limit, pandas and dlt, and print its memory (a quarter of an hour).
	@$(BIN)/python benchmarks/export.py

benchmark-submit: venv ## Print what a million rows to checked batches cost beside a plain COPY (PostgreSQL).
	@$(BIN)/python benchmarks/submit.py

benchmark-triggerer: venv $(UV_VENV)/bin/uv ## Let 2,000 and 10,000 jobs wait in one triggerer, and other providers' triggers (a quarter of an hour; PostgreSQL).
	@test -x $(PEERS_VENV)/bin/airflow || { echo "== environment: $(PEERS_VENV)" \
	    && $(BIN)/python -m venv $(PEERS_VENV) \
	    && $(UV_VENV)/bin/uv pip install --quiet --python $(PEERS_VENV)/bin/python \
	        --constraint constraints/peers.txt --requirement constraints/peers.in; }
	@$(BIN)/python benchmarks/triggerer.py

$(UV_VENV)/bin/uv:
	@python=$$(sh scripts/find_python.sh "$(PYTHON)" "$(VENV)") && "$$python" -m venv $(UV_VENV) \
	    && $(UV_VENV)/bin/python -m pip install --quiet uv

lock: $(UV_VENV)/bin/uv ## Refresh constraints/: newest versions that fit pyproject.toml and constraints/*.in.
	@for version in $(LOCK_PYTHONS); do \
	    echo "== constraints/py$$version.txt"; \
	    $(UV_VENV)/bin/uv pip compile pyproject.toml constraints/lock.in --all-extras --group test --group lint --group docs \
	        --python-version $$version --upgrade --no-header --no-annotate --strip-extras --quiet \
	        --output-file constraints/py$$version.txt || exit 1; \
	done
	@echo "== constraints/dialects.txt" && $(UV_VENV)/bin/uv pip compile --group dialects --python-version 3.11 --upgrade \
	    --no-header --no-annotate --quiet --output-file constraints/dialects.txt
	@echo "== constraints/peers.txt" && $(UV_VENV)/bin/uv pip compile constraints/peers.in --python-version 3.11 --upgrade \
	    --no-header --no-annotate --strip-extras --quiet --output-file constraints/peers.txt
	@echo "== constraints/package.txt" && $(UV_VENV)/bin/uv pip compile --group package --python-version 3.11 --upgrade \
	    --no-header --no-annotate --strip-extras --quiet --output-file constraints/package.txt
	@echo "== constraints/lowest.txt" && $(UV_VENV)/bin/uv pip compile pyproject.toml constraints/lowest.in --all-extras \
	    --resolution lowest-direct --python-version 3.11 --upgrade --no-header --no-annotate --strip-extras --quiet \
	    --output-file constraints/lowest.txt
	@for airflow in $(AIRFLOWS); do for python in $(LOCK_PYTHONS); do \
	    echo "== constraints/airflow-$$airflow-py$$python.txt"; \
	    $(UV_VENV)/bin/uv pip compile pyproject.toml constraints/airflow-$$airflow.in --all-extras --group test \
	        --python-version $$python --upgrade --no-header --no-annotate --strip-extras --quiet \
	        --output-file constraints/airflow-$$airflow-py$$python.txt || exit 1; \
	done; done

clean: ## Remove what the other targets made: environments, caches, the demo's files.
	rm -rf $(VENV) $(UV_VENV) $(DIALECTS_VENV) $(PACKAGE_VENV) $(PEERS_VENV) .venv-airflow-* .venv-dlt .demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

package: $(PACKAGE_VENV)/.installed ## Build the sdist and the wheel into dist/, twice, and compare and check them.
	@echo "== package: build, build again, compare, check" && $(PACKAGE_VENV)/bin/python scripts/build_package.py

test-package: venv package $(UV_VENV)/bin/uv ## Install what `make package` built: bare, at its oldest requirements, with each extra alone.
	@echo "== pytest: what is published" && UV=$(abspath $(UV_VENV))/bin/uv $(BIN)/pytest -n 2 -m package tests/package

audit: venv $(PACKAGE_VENV)/.installed ## Check locks, bounds and licences, and ask what is known against the locked versions (STRICT=1: it must answer).
	@echo "== audit" && $(BIN)/python scripts/audit.py --pip-audit $(PACKAGE_VENV)/bin/pip-audit $(if $(STRICT),--strict)

$(PACKAGE_VENV)/.installed: constraints/package.txt | venv $(UV_VENV)/bin/uv
	@echo "== environment: $(PACKAGE_VENV)" && $(BIN)/python -m venv --without-pip $(PACKAGE_VENV) \
	    && $(UV_VENV)/bin/uv pip install --quiet --python $(PACKAGE_VENV)/bin/python --requirement constraints/package.txt \
	    && touch $@
