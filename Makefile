# Every target sets up what it needs; the second time it starts at once.
.DEFAULT_GOAL := help
VENV   := .venv
BIN    := $(VENV)/bin
PYTHON ?= python3

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 19

demo: $(VENV)/.run ## Run the example workflow, from nothing
	@$(BIN)/cronium run examples/hello.yaml

test: $(VENV)/.dev ## Run the tests that need nothing but Python
	@$(BIN)/pytest -q -m "not docker and not distributed and not prometheus and not deployment and not torture" -n auto --dist loadfile --ignore tests/sdk

test-sdk: $(VENV)/.dev ## Run the tests of the SDKs, which need Node, Bash, curl and Perl beside Python
	@$(BIN)/pytest -q tests/sdk -n auto --dist loadfile

test-distributed: $(VENV)/.dev ## Run the tests that need Postgres, Valkey or Redis, and Prometheus; starts them itself
	@$(BIN)/pytest -q -m "(distributed or prometheus) and not docker and not deployment and not torture" -n auto --dist loadfile

test-torture: $(VENV)/.dev ## Run floods, crowds of watchers and kills; with Docker, Postgres and Redis where they are
	@$(BIN)/pytest -q -m "torture and not deployment" -n 3 --dist worksteal

test-docker: $(VENV)/.dev ## Run the tests that need a Docker daemon
	@$(BIN)/pytest -q -m "docker and not deployment and not torture"

test-deployment: $(VENV)/.dev ## Install it as users do: the image, the stack, behind nginx and Caddy; ALL=1 adds systemd and the pages
	@$(BIN)/pytest -q -m "deployment$(if $(ALL),, and not torture)"

lint: $(VENV)/.dev ## Check format, style, types and who imports whom
	@$(BIN)/ruff format --check --quiet . || { echo "not formatted: run 'make format'"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-incremental
	@$(BIN)/lint-imports --no-cache

format: $(VENV)/.dev ## Format the code
	@$(BIN)/ruff format --quiet . && $(BIN)/ruff check --fix --quiet .

chaos: $(VENV)/.dev ## Kill everything at random while jobs run, and count what is lost: SEED= KILLS= STORE= EXECUTOR=
	@$(BIN)/python -m tests.chaos.run $(if $(SEED),--seed $(SEED)) $(if $(KILLS),--kills $(KILLS)) $(if $(STORE),--store $(STORE)) $(if $(EXECUTOR),--executor $(EXECUTOR))

dev-docker: ## Run the server in containers from this checkout; it follows every change
	@docker compose -f docker-compose.dev.yml up --build

bench: $(VENV)/.dev ## Measure speed beside a floor taken in the same run
	@$(BIN)/python benchmarks/bench.py

lock: $(VENV)/.dev ## Resolve the pinned dependencies again
	@$(BIN)/uv pip compile --quiet pyproject.toml --extra valkey --group build --universal --generate-hashes --no-header --no-annotate --no-emit-index-url -o requirements.lock
	@$(BIN)/uv pip compile --quiet pyproject.toml --extra valkey --group dev --universal --generate-hashes --no-header --no-annotate --no-emit-index-url -o requirements-dev.lock
	@echo supervisor==4.3.0 | $(BIN)/uv pip compile --quiet - --generate-hashes --no-header --no-annotate --no-emit-index-url -o docker/supervisor.lock

clean: ## Remove the virtual environment and caches
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/.uv: requirements-uv.lock
	@command -v $(PYTHON) >/dev/null || { echo "Cronium needs Python 3.11 or newer: $(PYTHON) was not found." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Cronium needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Name another: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Setting up $(VENV) (once, about ten seconds):" >&2
	@echo "  1/3 virtual environment" >&2
	@$(PYTHON) -m venv $(VENV) || { echo "The venv module is missing (Debian: apt install python3-venv)." >&2; exit 1; }
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	@touch $@

$(VENV)/.run: $(VENV)/.uv requirements.lock pyproject.toml
	@if [ ! -e $(VENV)/.dev ]; then \
	  echo "  2/3 $$(grep -c == requirements.lock) pinned packages" >&2; \
	  $(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock; fi
	@echo "  3/3 cronium itself" >&2
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.uv requirements-dev.lock pyproject.toml
	@echo "  2/3 $$(grep -c == requirements-dev.lock) pinned packages, those for tests and checks among them" >&2
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.lock
	@echo "  3/3 cronium itself" >&2
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/.run

.PHONY: help demo test test-sdk test-distributed test-torture test-docker test-deployment lint format chaos dev-docker bench lock clean
