# `make serve` is the main job and `make test` the tests; each first installs what it needs, once.
SERVE := .venv
DEV := .venv-dev

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.PHONY: help serve test lint format bench loadtest hooks constraints clean serve-env dev-env

help: ## List the targets
	@echo "Usage: make TARGET [PYTHON=python3.12]"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' Makefile

serve: serve-env ## Serve model_store on http://127.0.0.1:8000 (HOLDFAST_HOST, HOLDFAST_PORT, …)
	@echo "Starting the gateway; Ctrl-C stops it …"
	@exec $(SERVE)/bin/holdfast serve

test: dev-env ## Run the tests (PYTEST_ARGS="-k classify -x")
	$(DEV)/bin/python -m pytest -n auto --maxprocesses 4 $(PYTEST_ARGS)

lint: dev-env ## Check style, types, and that imports point down
	$(DEV)/bin/ruff check
	$(DEV)/bin/ruff format --check
	$(DEV)/bin/mypy
	$(DEV)/bin/mypy benchmarks/*.py scripts/*.py scripts/test-image
	PYTHONPATH=clients/python/src $(DEV)/bin/lint-imports --no-logo

format: dev-env ## Format the code and mend what can be mended without asking
	$(DEV)/bin/ruff check --fix-only
	$(DEV)/bin/ruff format

bench: dev-env ## Measure what docs/performance.md shows, on this machine
	$(DEV)/bin/python benchmarks/gateway.py
	$(DEV)/bin/python benchmarks/training_step.py

loadtest: dev-env ## Load a gateway of its own for a minute and say what it bears (LOADTEST_ARGS="-- -u 50")
	@$(DEV)/bin/python loadtests/run.py $(LOADTEST_ARGS)

hooks: dev-env ## Run the same checks before every commit
	$(DEV)/bin/pre-commit install

constraints: dev-env ## Pin the newest versions that fit pyproject.toml, in constraints.txt
	$(DEV)/bin/python scripts/constraints.py

clean: ## Remove environments, caches and builds; data/ and runs/ stay
	rm -rf .venv .venv-dev .venv-peers .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache \
		.coverage build dist *.egg-info
	find holdfast training serving loadtests tests -name __pycache__ -type d -prune -exec rm -rf {} +

serve-env:
	@scripts/venv $(SERVE) serve "the serving half, without torch: 300 MB, a minute or two the first time"

dev-env:
	@scripts/venv $(DEV) test "everything, with torch: 6 GB, several minutes the first time"
