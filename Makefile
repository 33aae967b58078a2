# Two commands to know: `make demo` and `make test`. Both set up everything they need.
PYTHON ?= python3
BIN := .venv/bin
# files of tests side by side
JOBS ?= logical --maxprocesses 4
# empty: without coverage
COVERAGE ?= -m slipcover
export PYTHON
# some systems set it for all: every start of a program would compile its modules again
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo demo-down test unit lint format bench lock docs clean
.DEFAULT_GOAL := help

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

demo: ## Bring a site up, serve a small real model, ask it, measure it
	@scripts/setup default
	@scripts/demo

demo-down: ## Remove everything that the demo made
	@if [ -x $(BIN)/ai-how ]; then $(BIN)/ai-how destroy --yes --site examples/local.yaml; fi
	@rm -rf .demo

test: ## Set up and run all tests
	@scripts/setup dev
	@# branches in the tests' own files are not counted: that pytest is newer than slipcover knows does not matter
	@PYTHONWARNINGS="ignore:Unable to activate pytest:RuntimeWarning" $(BIN)/python $(COVERAGE) -m pytest -n $(JOBS) $(ARGS)

unit: ## Only the quick tests: no processes, no sockets
	@scripts/setup dev
	@$(BIN)/python -m pytest tests/unit tests/golden $(ARGS)

lint: ## ruff, mypy --strict, import-linter
	@scripts/setup dev
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

format: ## Format the code and mend what ruff can mend
	@scripts/setup dev
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

bench: ## Benchmarks: ratios against what you would use instead
	@scripts/setup dev
	@for program in benchmarks/*.py; do echo "== $$program"; $(BIN)/python $$program || exit 1; done

lock: ## Take new releases of the dependencies into the locks
	@scripts/setup dev
	@scripts/lock --upgrade

clean: ## Remove the virtual environment and caches
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
